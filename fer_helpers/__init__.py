"""The thin module under the FER workbook's notebooks. Importing it imports nothing else."""

__version__ = "0.1.0"
