"""Operations on archives: scan sources, verify, extract, compare, adopt, and describe movies."""
