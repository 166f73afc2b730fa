"""How fast Own SMTP is, beside its peers, in one run: `python -m benchmarks`. See `docs/performance.md`."""
