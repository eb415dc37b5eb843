"""Files of weights of other projects: arrays by name, read without what wrote them."""
