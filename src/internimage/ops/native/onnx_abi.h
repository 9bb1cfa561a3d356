// The part of ONNX Runtime's C interface that the operators use (onnxruntime_c_api.h, version 17 of the interface, which
// every ONNX Runtime from 1.17 on offers), declared here so that building needs none.  Functions are known by their place
// in a table that only grows.  Those that return a status return null on success.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;
struct OrtCustomOp;

enum OrtErrorCode { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7 };

struct OrtApi {
  OrtStatus* (*CreateStatus)(OrtErrorCode code, const char* message);
  void* GetErrorCode;
  const char* (*GetErrorMessage)(const OrtStatus* status);
  void* from_3[23];
  OrtStatus* (*CreateCustomOpDomain)(const char* domain, OrtCustomOpDomain** made);
  OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* op);
  OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions* options, OrtCustomOpDomain* domain);
  void* from_29[22];
  OrtStatus* (*GetTensorMutableData)(OrtValue* value, void** data);
  void* from_52[9];
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo* info, size_t* count);
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo* info, int64_t* values, size_t count);
  void* from_63[2];
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue* value, OrtTensorTypeAndShapeInfo** info);
  void* from_66[19];
  OrtStatus* (*KernelInfoGetAttribute_float)(const OrtKernelInfo* info, const char* name, float* value);
  OrtStatus* (*KernelInfoGetAttribute_int64)(const OrtKernelInfo* info, const char* name, int64_t* value);
  void* from_87[3];
  OrtStatus* (*KernelContext_GetInput)(const OrtKernelContext* context, size_t index, const OrtValue** value);
  OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext* context, size_t index, const int64_t* sizes, size_t count,
                                        OrtValue** value);
  void* ReleaseEnv;
  void (*ReleaseStatus)(OrtStatus* status);
  void* from_94[5];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo* info);
  void* ReleaseSessionOptions;
  void (*ReleaseCustomOpDomain)(OrtCustomOpDomain* domain);
  void* from_102[61];
  OrtStatus* (*KernelInfoGetAttributeArray_int64)(const OrtKernelInfo* info, const char* name, int64_t* values,
                                                  size_t* count);
  void* from_164[110];
  OrtStatus* (*KernelContext_ParallelFor)(const OrtKernelContext* context, void (*work)(void* data, size_t part),
                                          size_t parts, size_t batches, void* data);
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// An operator; ONNX Runtime reads of it what `version` promises.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info);
  const char* (*GetName)(const OrtCustomOp* op);
  const char* (*GetExecutionProviderType)(const OrtCustomOp* op);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp* op);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp* op);
  void (*KernelCompute)(void* kernel, OrtKernelContext* context);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const OrtCustomOp* op, size_t index);  // 0: required
  int (*GetOutputCharacteristic)(const OrtCustomOp* op, size_t index);
  int (*GetInputMemoryType)(const OrtCustomOp* op, size_t index);  // 0: the provider's own
  void* variadic[4];
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext* context);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp* op, OrtShapeInferContext* context);
  void* versions_and_aliases[6];
};

}  // extern "C"

namespace internimage {

constexpr uint32_t kOnnxInterface = 17;  // the first one with KernelContext_ParallelFor

constexpr size_t place(size_t offset) { return offset / sizeof(void*); }

static_assert(place(offsetof(OrtApi, CreateCustomOpDomain)) == 26);
static_assert(place(offsetof(OrtApi, GetTensorMutableData)) == 51);
static_assert(place(offsetof(OrtApi, GetDimensionsCount)) == 61);
static_assert(place(offsetof(OrtApi, GetTensorTypeAndShape)) == 65);
static_assert(place(offsetof(OrtApi, KernelInfoGetAttribute_float)) == 85);
static_assert(place(offsetof(OrtApi, KernelContext_GetInput)) == 90);
static_assert(place(offsetof(OrtApi, ReleaseStatus)) == 93);
static_assert(place(offsetof(OrtApi, ReleaseTensorTypeAndShapeInfo)) == 99);
static_assert(place(offsetof(OrtApi, ReleaseCustomOpDomain)) == 101);
static_assert(place(offsetof(OrtApi, KernelInfoGetAttributeArray_int64)) == 163);
static_assert(place(offsetof(OrtApi, KernelContext_ParallelFor)) == 274);
static_assert(place(offsetof(OrtCustomOp, KernelComputeV2)) == 18);

}  // namespace internimage
