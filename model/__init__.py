"""The generative model: architecture, objective, samplers, adapters. Knows neither hospitals nor Flower."""
