"""The comparisons of the paper: Tables 1 to 5, Figures 2 and 3, and its claims."""
