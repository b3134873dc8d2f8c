// The one product of oneDNN that qsd uses, as C functions. C++, since oneDNN's C interface differs between 2 and 3.

#include <omp.h>

#include <array>
#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>

using namespace dnnl;
using dims = memory::dims;
using type = memory::data_type;

namespace {

// Sizes are given with each call, since creating a primitive for sizes takes longer than most of our products.
matmul create(const engine &cpu, bool a_turned, bool b_turned, bool accumulate) {
    const memory::dim any = DNNL_RUNTIME_DIM_VAL;
    auto strides = [=](bool turned) { return turned ? dims{1, any} : dims{any, 1}; };
    memory::desc a({any, any}, type::bf16, strides(a_turned));
    memory::desc b({any, any}, type::bf16, strides(b_turned));
    memory::desc dst({any, any}, type::f32, strides(false));
    primitive_attr attributes;
    if (accumulate) {
        post_ops sum;
        sum.append_sum(1.0f);
        attributes.set_post_ops(sum);
    }
#if DNNL_VERSION_MAJOR >= 3
    return matmul(matmul::primitive_desc(cpu, a, b, dst, attributes));
#else
    return matmul(matmul::primitive_desc(matmul::desc(a, b, dst), attributes, cpu));
#endif
}

// What a thread keeps.
struct Kept {
    engine cpu{engine::kind::cpu, 0};
    stream queue{cpu};
    std::array<matmul, 8> primitives;
    Kept() { omp_set_num_threads(1); }  // of the calling thread only
};

}  // namespace

// Whether oneDNN would use AMX here (the CPU has it and the operating system allows it).
extern "C" bool qsd_onednn_amx() {
    const auto amx = static_cast<unsigned>(cpu_isa::avx512_core_amx);
    return (static_cast<unsigned>(get_effective_cpu_isa()) & amx) == amx;
}

// dst (m x n, rows dst_stride apart) (+)= a (m x k) b (k x n); operands without gaps, by rows, or by columns if turned.
// False if oneDNN cannot, with dst unchanged.
extern "C" bool qsd_onednn_multiply(float *dst, int64_t dst_stride, bool accumulate, const uint16_t *a, bool a_turned,
                                    const uint16_t *b, bool b_turned, int64_t m, int64_t n, int64_t k) noexcept {
    try {
        thread_local Kept kept;
        matmul &product = kept.primitives[4 * a_turned + 2 * b_turned + accumulate];
        if (!product) product = create(kept.cpu, a_turned, b_turned, accumulate);
        auto operand = [&](const uint16_t *data, bool turned, int64_t rows, int64_t cols) {
            memory::desc shape({rows, cols}, type::bf16, turned ? dims{1, rows} : dims{cols, 1});
            return memory(shape, kept.cpu, const_cast<uint16_t *>(data));
        };
        memory sums({{m, n}, type::f32, dims{dst_stride, 1}}, kept.cpu, dst);
        product.execute(kept.queue, {{DNNL_ARG_SRC, operand(a, a_turned, m, k)},
                                     {DNNL_ARG_WEIGHTS, operand(b, b_turned, k, n)},
                                     {DNNL_ARG_DST, sums}});
        kept.queue.wait();
        return true;
    } catch (...) {
        return false;
    }
}
