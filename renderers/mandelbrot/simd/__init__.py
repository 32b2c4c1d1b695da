"""The kernel as LLVM IR: text written for the vector width and the registers of one instruction set."""
