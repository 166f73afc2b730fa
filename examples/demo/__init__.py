"""A demonstration of Own SMTP: a survey platform, a worker, Redis, and a mail server that stores all accepted mail."""
