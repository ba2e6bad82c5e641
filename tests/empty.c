/* Keeps the library of helpers from being empty. */
typedef int kr_test_nothing;
