"""Speed of Own SMTP and its peers, measured in one run: `python -m benchmarks`. See `docs/performance.md`."""
