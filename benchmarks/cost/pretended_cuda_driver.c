/* The driver library that torch links for its generated kernels: every call succeeds and does nothing.
   Preloaded, it lets torch believe in a GPU that nothing is ever computed on; see pretended_cuda.py. */
#define S(n) int n(void) { return 0; }
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) { if (f) *f = 0; if (a) *a = 1; return 0; }
int cuGetErrorString(int e, const char **s) { *s = "pretended"; return 0; }
S(cuCtxGetCurrent) S(cuCtxSetCurrent) S(cuDeviceGet) S(cuDeviceGetAttribute) S(cuDevicePrimaryCtxRetain)
S(cuFuncGetAttribute) S(cuFuncSetAttribute) S(cuFuncSetCacheConfig) S(cuLaunchCooperativeKernel) S(cuLaunchKernel)
S(cuLinkAddData_v2) S(cuLinkComplete) S(cuLinkCreate_v2) S(cuModuleGetFunction) S(cuModuleLoad) S(cuModuleLoadData)
S(cuModuleLoadDataEx) S(cuModuleUnload) S(cuOccupancyMaxActiveBlocksPerMultiprocessor) S(cuPointerGetAttribute)
S(cuTensorMapEncodeTiled)
