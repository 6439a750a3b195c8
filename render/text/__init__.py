"""What is written: corpora, facts for tables, and where a line may break."""
