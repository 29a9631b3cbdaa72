"""The door to the command line: `python -m fer_helpers.run <command> [NAME=value ...]`, which make calls too.

It and what it imports at the top need nothing but a Python, even an old one: `setup` begins here.
"""

import sys

from fer_helpers.workbook import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
