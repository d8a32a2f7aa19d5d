"""Machine code of the stencil tier, made when the C runtime is built: nothing here runs in a program.

`text` has LLVM's text of each of the interpreter's operations, for each form of its operands, from the rows of the
instruction table; `cut` has LLVM emit it and cuts the code into stencils with holes; `header` writes them for C
(``build/wj_stencils.h``), where ``stencil_rows.c`` copies and patches them.
"""
