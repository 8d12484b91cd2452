/* Stands in for NVIDIA's driver: 1 GiB, of which every look finds 64 MiB more used, until the
 * tenth; from then on 128 MiB are used. test_gpu_memory.py compiles it. */
#include <stddef.h>

static int looks = 0;
static void* const kContext = &looks;
static void* current = NULL;

int cuInit(unsigned flags) { return flags == 0 ? FAILS : 1; }
int cuDeviceGet(int* device, int ordinal) {
  *device = 7;
  return ordinal == 0 ? 0 : 101;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = kContext;
  return device == 7 ? 0 : 101;
}
int cuCtxSetCurrent(void* context) {
  current = context;
  return 0;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  if (current != kContext) return 201;
  const size_t step = (size_t)64 << 20;
  *total = (size_t)1 << 30;
  *free = *total - (looks < 10 ? (size_t)looks * step : 2 * step);
  ++looks;
  return 0;
}
