"""Networks that begin with what was learnt on other pictures, and training behind frozen stages."""
