"""A comparison as a page that works offline, and as a file; and what is drawn of one, by this page and by the app.

It may import `run` and what is below. `view/` holds what runs in a browser.
"""
