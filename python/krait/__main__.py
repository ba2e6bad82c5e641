"""python -m krait: the program."""
from ._program import main

main()
