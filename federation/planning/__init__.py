"""Before a study: what it will cost patients in privacy, and whether anything will be learned."""
