"""The watch that learns its wearer: data, float training, float fine-tuning."""
