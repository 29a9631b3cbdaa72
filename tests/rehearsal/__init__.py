"""The notebooks alone, as in Colab."""
