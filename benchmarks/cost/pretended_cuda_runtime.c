/* The CUDA runtime's questions, answered as by one idle H100. For CUDA 13.
   Preloaded, it lets torch believe in a GPU that nothing is ever computed on; see pretended_cuda.py. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "cuda_runtime_api.h"
#undef cudaGetDeviceProperties
#define OK return cudaSuccess
#define E cudaError_t
static int generic(void) { return 0; }
static int prim_state(int d, unsigned *f, int *a) { if (f) *f = 0; if (a) *a = 1; return 0; }
E cudaGetDeviceCount(int *n) { *n = 1; OK; }
E cudaGetDevice(int *d) { *d = 0; OK; }
E cudaSetDevice(int d) { OK; }
E cudaDriverGetVersion(int *v) { *v = CUDART_VERSION; OK; }
E cudaRuntimeGetVersion(int *v) { *v = CUDART_VERSION; OK; }
E cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p); strcpy(p->name, "Pretended H100"); p->major = 9; p->warpSize = 32;
  p->totalGlobalMem = 80ul << 30; p->multiProcessorCount = 132; p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048; p->sharedMemPerBlock = 49152; p->sharedMemPerBlockOptin = 232448;
  p->regsPerBlock = 65536; p->l2CacheSize = 50 << 20; p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535; p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64; OK; }
E cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) { *v = a == 75 ? 9 : 0; OK; }
E cudaMemGetInfo(size_t *f, size_t *t) { *f = 79ul << 30; *t = 80ul << 30; OK; }
E cudaGetLastError(void) { OK; }
E cudaPeekAtLastError(void) { OK; }
E cudaDeviceSynchronize(void) { OK; }
E cudaStreamSynchronize(cudaStream_t s) { OK; }
E cudaStreamQuery(cudaStream_t s) { OK; }
E cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) { *s = (cudaStream_t)malloc(8); OK; }
E cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { *s = (cudaStream_t)malloc(8); OK; }
E cudaStreamCreate(cudaStream_t *s) { *s = (cudaStream_t)malloc(8); OK; }
E cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned f) { OK; }
E cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *c) { *c = cudaStreamCaptureStatusNone; OK; }
E cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { OK; }
E cudaDeviceGetStreamPriorityRange(int *a, int *b) { *a = 0; *b = -5; OK; }
E cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) { *e = (cudaEvent_t)malloc(8); OK; }
E cudaEventCreate(cudaEvent_t *e) { *e = (cudaEvent_t)malloc(8); OK; }
E cudaEventDestroy(cudaEvent_t e) { OK; }
E cudaEventRecord(cudaEvent_t e, cudaStream_t s) { OK; }
E cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned f) { OK; }
E cudaEventQuery(cudaEvent_t e) { OK; }
E cudaEventSynchronize(cudaEvent_t e) { OK; }
E cudaMalloc(void **p, size_t n) { *p = calloc(1, n); OK; }
E cudaFree(void *p) { free(p); OK; }
E cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) { memcpy(d, s, n); OK; }
E cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t t) { memcpy(d, s, n); OK; }
E cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t s) { memset(d, v, n); OK; }
E cudaHostAlloc(void **p, size_t n, unsigned f) { *p = calloc(1, n); OK; }
E cudaFreeHost(void *p) { free(p); OK; }
E cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { OK; }
E cudaDeviceCanAccessPeer(int *c, int a, int b) { *c = 0; OK; }
E cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) { memset(a, 0, sizeof *a); OK; }
E cudaGetDriverEntryPointByVersion(const char *s, void **f, unsigned v, unsigned long long l,
                                   enum cudaDriverEntryPointQueryResult *r) {
  *f = strcmp(s, "cuDevicePrimaryCtxGetState") ? (void *)generic : (void *)prim_state;
  if (r) *r = cudaDriverEntryPointSuccess; OK; }
E cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id, cudaGraph_t *g,
                           const cudaGraphNode_t **d, const cudaGraphEdgeData **e, size_t *n) {
  *c = cudaStreamCaptureStatusNone; OK; }
E cudaDeviceGetDefaultMemPool(cudaMemPool_t *p, int d) { *p = (cudaMemPool_t)malloc(8); OK; }
E cudaMemPoolSetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) { OK; }
E cudaMemPoolGetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) { OK; }
E cudaDeviceGetPCIBusId(char *s, int n, int d) { strncpy(s, "0000:00:00.0", n); OK; }
E cudaHostRegister(void *p, size_t n, unsigned f) { OK; }
E cudaHostUnregister(void *p) { OK; }
E cudaMemset(void *d, int v, size_t n) { memset(d, v, n); OK; }
E cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) { memset(a, 0, sizeof *a); a->binaryVersion = 90; a->ptxVersion = 90; OK; }
E cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) { OK; }
E cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) { *n = 1; OK; }
E cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s, unsigned g) { *n = 1; OK; }
E cudaGetSymbolAddress(void **p, const void *s) { *p = malloc(4096); OK; }
E cudaMemcpyToSymbol(const void *d, const void *s, size_t n, size_t o, enum cudaMemcpyKind k) { OK; }
const char *cudaGetErrorString(cudaError_t e) { return "pretended"; }
const char *cudaGetErrorName(cudaError_t e) { return "pretended"; }
