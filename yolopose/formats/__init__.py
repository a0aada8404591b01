"""One table of formats, one file per runtime."""
