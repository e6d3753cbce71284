"""Questions to the tools of four MCP servers, with the tools that answer them.

Written from the names of the tools alone, before anything was ranked. Servers: github-mcp-server at 64a49f34 (its
`__toolsnaps__`), @notionhq/notion-mcp-server 2.5.2, @playwright/mcp 0.0.83, @modelcontextprotocol/server-filesystem
2026.8.31.
"""

from __future__ import annotations

QUESTIONS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "github": (
        ("Open a new issue in octo/app: the login button does nothing on Safari", ("issue_write", "create_issue")),
        ("Which pull requests are still open in octo/app?", ("list_pull_requests", "search_pull_requests")),
        ("Merge pull request 42 of octo/app", ("merge_pull_request",)),
        ("Who wrote line 20 of src/main.py in octo/app?", ("get_file_blame",)),
        ("Show me the README of octo/app", ("get_file_contents",)),
        ("Make a branch called fix-login from main", ("create_branch",)),
        ("Why did the last CI job fail? Get its logs", ("get_job_logs",)),
        ("Star the repository octo/app", ("star_repository",)),
        ("Find code that uses parse_header in our organisation", ("search_code",)),
        ("What is the newest release of octo/app?", ("get_latest_release", "list_releases")),
        ("Comment on issue 7 that it is fixed", ("add_issue_comment",)),
        ("Fork octo/app into my account", ("fork_repository",)),
        ("Are there any secrets leaked in octo/app?", ("list_secret_scanning_alerts", "get_secret_scanning_alert")),
        ("Ask Copilot to review PR 12", ("request_copilot_review",)),
    ),
    "notion": (
        ("Find the page about the offsite in Notion", ("API-post-search",)),
        ("Create a new page called Meeting notes in Notion", ("API-post-page",)),
        ("Read the Notion page 59833787 as Markdown", ("API-retrieve-page-markdown", "API-retrieve-a-page")),
        ("Move that Notion page under Archive", ("API-move-page",)),
        ("Leave a comment on the page: looks good", ("API-create-a-comment",)),
        ("Delete the second block of the page", ("API-delete-a-block",)),
        ("Which tasks in the data source are due this week? Query it", ("API-query-data-source",)),
        ("Who are the users of our Notion workspace?", ("API-get-users",)),
    ),
    "playwright": (
        ("Go to https://example.org", ("browser_navigate",)),
        ("Click on the button Sign in", ("browser_click",)),
        ("Take a screenshot of the page", ("browser_take_screenshot",)),
        ("Fill in the form with my name and address", ("browser_fill_form",)),
        ("Go back to the previous page in the browser", ("browser_navigate_back",)),
        ("Choose Germany in the country dropdown", ("browser_select_option",)),
        ("Press Enter", ("browser_press_key",)),
        ("Are there any errors in the browser's console?", ("browser_console_messages",)),
    ),
    "filesystem": (
        ("What is in notes.txt?", ("read_text_file", "read_file")),
        ("Save this text as todo.md: buy milk", ("write_file",)),
        ("List the files in the folder Documents", ("list_directory", "list_directory_with_sizes")),
        ("Rename a.txt to b.txt", ("move_file",)),
        ("Make a folder named pictures", ("create_directory",)),
        ("How large is video.mp4, and when was it changed?", ("get_file_info",)),
        ("Find all PDF files under Documents", ("search_files",)),
        ("Replace foo by bar in config.ini", ("edit_file",)),
    ),
}  # fmt: skip
