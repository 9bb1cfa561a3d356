// The part of LibTorch's stable C interface that the operators use (torch/csrc/stable/c/shim.h and
// torch/csrc/inductor/aoti_torch/c/shim.h, torch >= 2.10), declared here so that building needs no torch.
// Every function but the getters of constants and aoti_torch_check returns 0 on success.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct AtenTensorOpaque;
using AtenTensorHandle = AtenTensorOpaque*;
struct TorchLibraryOpaque;
using TorchLibraryHandle = TorchLibraryOpaque*;
using AOTITorchError = int32_t;
using StableIValue = uint64_t;  // integers, booleans and doubles by their bits; tensors and lists by owned handles

AOTITorchError aoti_torch_library_init_impl(const char* ns, const char* key, const char* file, uint32_t line,
                                            TorchLibraryHandle* library);
AOTITorchError torch_library_impl(TorchLibraryHandle library, const char* name,
                                  void (*kernel)(StableIValue*, uint64_t inputs, uint64_t outputs),
                                  uint64_t extension_build_version);

// Throws within PyTorch, which C++ exceptions of this library would not be sure to get out of.
void aoti_torch_check(bool holds, const char* function, const char* file, uint32_t line, const char* message);

AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor);
AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** data);
AOTITorchError aoti_torch_get_sizes(AtenTensorHandle tensor, int64_t** sizes);
AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle tensor, bool* contiguous);
AOTITorchError aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* count);
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* dtype);
AOTITorchError aoti_torch_empty_strided(int64_t dimensions, const int64_t* sizes, const int64_t* strides, int32_t dtype,
                                        int32_t device_type, int32_t device_index, AtenTensorHandle* tensor);
int32_t aoti_torch_device_type_cpu();
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_dtype_bfloat16();
int32_t aoti_torch_dtype_float16();

struct StableListOpaque;
using StableListHandle = StableListOpaque*;
AOTITorchError torch_list_size(StableListHandle list, size_t* size);
AOTITorchError torch_list_get_item(StableListHandle list, size_t index, StableIValue* item);
AOTITorchError torch_delete_list(StableListHandle list);

// Calls a function of the dispatcher with the stack's inputs and leaves its outputs there.
AOTITorchError torch_call_dispatcher(const char* name, const char* overload, StableIValue* stack,
                                     uint64_t extension_build_version);

AOTITorchError torch_parallel_for(int64_t begin, int64_t end, int64_t grain,
                                  void (*work)(int64_t begin, int64_t end, void* context), void* context);
AOTITorchError torch_get_num_threads(uint32_t* threads);

}  // extern "C"
