"""The page at `/`: files for a browser, and the middleware that serves them.

page/         the page itself: HTML, CSS and ES modules as they are, without a build step
page/vendor/  preact and htm from npm, unchanged but for one import, with their licences
files         the files, and the requests that ask for them
middleware    answers those requests (ASGI middleware)
"""
