"""What a person should know of an autoencoder before a study is built on it."""
