"""What readers see: the page of results, the README's numbers, model cards."""
