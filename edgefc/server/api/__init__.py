"""The endpoints. Each API has a request model (the body) and a request handler (the response, whole or as events).

fields       body fields that several endpoints share
chat         chat completions; the other chat APIs are translated to it
completions  raw prompts
responses    OpenAI's responses
messages     Anthropic's messages
translate    what responses and messages share: they build a chat completion, and errors name the caller's own fields
routes       all routes
"""
