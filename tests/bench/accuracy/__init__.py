"""What a device's training is worth in test accuracy: `python -m tests.bench.accuracy`; see README.md."""
