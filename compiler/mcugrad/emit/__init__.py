"""Program in, folder of C out: see README.md."""
