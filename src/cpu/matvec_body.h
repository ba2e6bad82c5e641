/* Matrix-vector and small-batch products: the body of kernels.h's matvec, on the vectors of vec_<isa>.h. */
static void matvec_rows(const kr_linear *op, size_t begin, size_t end) { kr_matvec_plain(op, begin, end); }
