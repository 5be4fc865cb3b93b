// In steady state a call makes no allocation, takes no lock and makes no system call at one thread; with two
// threads the kernel hears of futexes and yields alone. Each layer runs in a child process: first to warm up,
// then under a seccomp filter that catches every system call. Reading a clock by the vdso is none.
#include <cstdio>

#if defined(__linux__) && defined(__x86_64__) && defined(__GLIBC__)
#define ATTEND_TEST_SECCOMP 1
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <attend/attend.hpp>

#include "counted_malloc.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

#if !defined(ATTEND_TEST_SECCOMP)
TEST(SteadyState, MakesNoSystemCall) { GTEST_SKIP() << "needs seccomp, of Linux on x86-64"; }
#elif ATTEND_TEST_SANITIZED
TEST(SteadyState, MakesNoSystemCall) { GTEST_SKIP() << "sanitizers make system calls of their own"; }
#else

namespace {
std::atomic<long> locks{0};
}

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  using Lock = int (*)(pthread_mutex_t*);
  static std::atomic<Lock> real{nullptr};
  if (real == nullptr) real = reinterpret_cast<Lock>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  ++locks;
  return real.load()(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
  using Lock = int (*)(pthread_rwlock_t*);
  static std::atomic<Lock> real{nullptr};
  if (real == nullptr) real = reinterpret_cast<Lock>(dlsym(RTLD_NEXT, "pthread_rwlock_rdlock"));
  ++locks;
  return real.load()(lock);
}
}

namespace {
using namespace attend;
using namespace attend_test;

/// What a child tells its parent.
struct Report {
  std::atomic<long> system_call, allocations, locks;
};
Report* report = nullptr;

enum Exit { kGood, kSystemCall = 3, kNoSeccomp = 4 };

/// From now on all threads of this process are caught in any system call but these, and but exit_group.
bool forbid_system_calls(bool of_threads_too) {
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    report->system_call = info->si_syscall;
    _exit(kSystemCall);
  };
  sigaction(SIGSYS, &action, nullptr);
  std::vector<sock_filter> filter;
  filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  std::vector<unsigned> allowed{SYS_exit_group, SYS_rt_sigreturn};
  if (of_threads_too) allowed.insert(allowed.end(), {SYS_futex, SYS_sched_yield});
  for (unsigned number : allowed) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

/// f() in a child, twice to warm up and then watched.
int watch(int threads, const std::function<void(Context&)>& f) {
  report->system_call = -1, report->allocations = 0, report->locks = 0;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    Context context(threads);
    std::atomic<int> awake{0};  // a thread that is still being made makes system calls, too
    context.parallel(threads, threads, [&](Index, int) {
      for (++awake; awake < threads;) std::this_thread::yield();
    });
    f(context);
    f(context);
    if (!forbid_system_calls(threads > 1)) _exit(kNoSeccomp);
    const long allocations_before = allocations, locks_before = locks;
    for (int i = 0; i < 3; ++i) f(context);
    report->allocations = allocations - allocations_before;
    report->locks = locks - locks_before;
    _exit(kGood);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class SteadyState : public testing::Test {
 protected:
  void SetUp() override {
    if (report == nullptr)
      report = static_cast<Report*>(
          mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    // The watch sees something, where it can be had at all.
    const int seen = watch(1, [](Context&) { syscall(SYS_getppid); });
    if (seen == kNoSeccomp) GTEST_SKIP() << "this system does not let a process install a seccomp filter";
    ASSERT_EQ(seen, kSystemCall);
    ASSERT_EQ(report->system_call, SYS_getppid);
    clock_is_a_system_call_ = watch(1, [](Context&) { std::chrono::steady_clock::now(); }) == kSystemCall;
  }
  void check(const char* what, const std::function<void(Context&)>& f) const {
    for (const int threads : {1, 2}) {
      if (threads > 1 && clock_is_a_system_call_) continue;  // which idle workers read
      SCOPED_TRACE(std::string(what) + ", " + std::to_string(threads) + " threads");
      EXPECT_EQ(watch(threads, f), kGood) << "system call " << report->system_call;
      EXPECT_EQ(report->allocations, 0);
      EXPECT_EQ(report->locks, 0);
    }
  }

 private:
  bool clock_is_a_system_call_ = false;
};

TEST_F(SteadyState, IsSeenToAllocateAndToLock) {
  EXPECT_EQ(watch(1,
                  [](Context&) {
                    int* volatile number = new int;
                    delete number;
                  }),
            kGood);
  EXPECT_EQ(report->allocations, 3);
  EXPECT_EQ(watch(1,
                  [](Context&) {
                    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
                    pthread_mutex_lock(&mutex);
                    pthread_mutex_unlock(&mutex);
                  }),
            kGood);
  EXPECT_EQ(report->locks, 3);
}

TEST_F(SteadyState, OfLayersMakesNoSystemCall) {
  for (const Index T : {Index{5}, Index{200}}) {
    const auto x = random_tensor<float, 3>({2, T, 48}), memory = random_tensor<float, 3>({2, T + 3, 48});
    Tensor<float, 3> y(x.shape());
    const auto of = [](auto layer) { return fill_parameters<float>(layer), layer; };
    const auto linear = of(Linear<float>({.in_features = 48, .out_features = 48}));
    check("Linear", [&](Context& c) { linear.forward(c, x, y.view(), {.activation = Activation::gelu}); });
    const auto layer_norm = of(LayerNorm<float>({.normalized_shape = 48}));
    check("LayerNorm", [&](Context& c) { layer_norm.forward(c, x, y.view()); });
    const auto rms_norm = of(RMSNorm<float>({.normalized_shape = 48}));
    check("RMSNorm", [&](Context& c) { rms_norm.forward(c, x, y.view()); });
    const auto feed_forward = of(FeedForward<float>({48, 200, Activation::silu, true}));
    check("FeedForward", [&](Context& c) { feed_forward.forward(c, x, y.view()); });
    const auto embedding = of(Embedding<float>({.num_embeddings = 9, .embedding_dim = 48}));
    const Tensor<std::int32_t, 2> ids({2, T}, 3);
    check("Embedding", [&](Context& c) { embedding.forward(c, const_view(ids), y.view()); });
    check("softmax", [&](Context& c) { softmax(c, x, 1, y.view()); });
    check("log_softmax", [&](Context& c) { log_softmax(c, x, -1, y.view()); });
    const Rotary<float> rotary({.head_dim = 12});
    auto turned = random_tensor<float, 4>({2, 4, T, 12});
    check("Rotary", [&](Context& c) { rotary.apply(c, turned.view()); });

    const auto q = random_tensor<float, 4>({2, 4, T, 12}), k = random_tensor<float, 4>({2, 2, T + 3, 12}),
               v = random_tensor<float, 4>({2, 2, T + 3, 16});
    Tensor<float, 4> out({2, 4, T, 16}), weights({2, 4, T, T + 3}), scores({2, 4, T, T + 3});
    Tensor<float, 3> log_sum_exp({2, 4, T}), entropy({2, 4, T}), totals({2, 4, T + 3});
    for (const Mask& mask : {Mask(), Mask(causal(Corner::bottom_right)),
                             Mask([](Index, Index, Index i, Index j) { return (i + j) % 3 != 0; })})
      check("attention", [&](Context& c) {
        scaled_dot_product_attention<float>(
            c, q, k, v, {.mask = mask}, out.view(),
            {.log_sum_exp = log_sum_exp.view(), .weights = weights.view(), .scores = scores.view()});
      });
    check("introspect", [&](Context& c) {
      introspect<float>(c, q, k, {.mask = causal()},
                        {.key_totals = totals.view(), .entropy = entropy.view()});
    });
    const auto one = random_tensor<float, 4>({2, 4, 1, 12});
    Tensor<float, 4> one_out({2, 4, 1, 12});
    KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 12});
    cache.reserve(T + 3 + 10);
    cache.append(k, k);
    check("decoding", [&](Context& c) {
      cache.append(k.slice(2, 0, 1), k.slice(2, 0, 1));
      scaled_dot_product_attention<float>(c, one, cache, {.mask = causal(Corner::bottom_right)},
                                          one_out.view());
    });
    const auto attention =
        of(MultiHeadAttention<float>({.embed_dim = 48, .num_heads = 4, .num_kv_heads = 2}));
    check("MultiHeadAttention", [&](Context& c) { attention.forward(c, x, {.mask = causal()}, y.view()); });
    check("cross attention", [&](Context& c) { attention.forward(c, x, memory, memory, {}, y.view()); });
    const auto encoder = of(Encoder<float>(
        {.block = {.embed_dim = 48, .num_heads = 4, .dim_feedforward = 100}, .num_layers = 2}));
    check("Encoder", [&](Context& c) { encoder.forward(c, x, y.view()); });
    const auto decoder = of(Decoder<float>(
        {.block = {.embed_dim = 48, .num_heads = 4, .dim_feedforward = 100}, .num_layers = 2}));
    check("Decoder", [&](Context& c) {
      decoder.forward(c, x, {.self = {.mask = causal()}, .memory = memory}, y.view());
    });
  }
}

TEST_F(SteadyState, OfAllThatAttentionAndBlocksMayHaveMakesNoSystemCall) {
  const auto of = [](auto layer) { return fill_parameters<float>(layer), layer; };
  const auto x = random_tensor<float, 3>({2, 40, 48});
  const auto one = random_tensor<float, 3>({1, 40, 48});
  Tensor<float, 3> y(x.shape()), y_one(one.shape()), average({2, 40, 40});
  const std::vector<Index> offsets{0, 7, 7, 40};
  const auto convolution = of(Convolution<float>({.embed_dim = 48, .activation = Activation::tanh}));
  check("Convolution", [&](Context& c) { convolution.forward(c, x, {}, y.view()); });
  check("Convolution, ragged", [&](Context& c) { convolution.forward(c, one, offsets, y_one.view()); });

  auto rotated = of(MultiHeadAttention<float>({.embed_dim = 48, .num_heads = 4, .qk_norm = 1e-6}));
  rotated.set_rotary(std::make_shared<const Rotary<float>>(RotaryOptions{.head_dim = 12}));
  check("rotary positions", [&](Context& c) { rotated.forward(c, x, {.mask = causal()}, y.view()); });
  KVCache<float> cache = rotated.make_cache(2);
  cache.reserve(500);
  check("rotary positions, with a cache",
        [&](Context& c) { rotated.forward(c, x, cache, {.mask = causal(Corner::bottom_right)}, y.view()); });
  for (const bool alibi : {false, true}) {
    MultiHeadAttentionOptions options{.embed_dim = 48, .num_heads = 4};
    if (alibi)
      options.alibi = true;
    else
      options.bias_kv = options.add_zero_attn = true;
    const auto layer = of(MultiHeadAttention<float>(options));
    check("alibi, or more keys", [&](Context& c) {
      layer.forward(c, x, {.mask = causal() & lengths({40, 9})}, y.view());
    });
  }
  const auto plain = of(MultiHeadAttention<float>({.embed_dim = 48, .num_heads = 4}));
  check("average_weights", [&](Context& c) {
    plain.forward(c, x, {.key_lengths = {40, 9}}, y.view(), {.average_weights = average.view()});
  });
  auto bias = of(RelativeBias<float>({.num_heads = 4}));
  check("RelativeBias", [&](Context& c) { plain.forward(c, x, {.modifier = bias.modifier()}, y.view()); });

  const DisentangledAttentionOptions both{.content_to_position = true, .position_to_content = true};
  const auto embedding = of(RelativeEmbedding<float>({.embed_dim = 48, .span = 8, .norm_eps = 1e-6}));
  const auto disentangled =
      of(MultiHeadAttention<float>({.embed_dim = 48, .num_heads = 4, .disentangled = both}));
  check("disentangled attention", [&](Context& c) {
    Frame frame(c.workspace());
    const RelativePositions<float> positions = embedding.positions(c, frame, 40);
    disentangled.forward(c, x, {.relative = &positions}, y.view());
    disentangled.forward(c, one, {.query_offsets = offsets, .key_offsets = offsets, .relative = &positions},
                         y_one.view());
  });

  for (const Residual residual :
       {Residual::post, Residual::pre, Residual::parallel, Residual::sandwich, Residual::inner}) {
    BlockOptions block{.self_attn = {.embed_dim = 48, .num_heads = 4},
                       .feed_forward = {48, 100, Activation::silu, true},
                       .norm = {.size = 48},
                       .residual = residual};
    if (residual == Residual::post) block.convolution = ConvolutionOptions{.embed_dim = 48};
    if (residual == Residual::pre) block.residual_scale = 0.5;
    const auto stack = of(Stack<float>({48, {block, block}, NormOptions{.size = 48}, {0, 1, 1}}));
    check("Stack", [&](Context& c) { stack.forward(c, x, y.view()); });
    if (block.convolution) continue;
    std::vector<KVCache<float>> caches = stack.make_caches(2);
    for (KVCache<float>& each : caches) each.reserve(500);
    check("Stack, with caches", [&](Context& c) {
      stack.forward(c, x, {.self = {.mask = causal(Corner::bottom_right)}, .caches = caches}, y.view());
    });
  }
  const auto decoder = of(
      Decoder<float>({.block = {.embed_dim = 48, .num_heads = 4, .dim_feedforward = 100}, .num_layers = 2}));
  Context context;
  std::vector<KVCache<float>> caches = decoder.make_caches(2);
  for (KVCache<float>& each : caches) each.reserve(500);
  const std::vector<KVCache<float>> memory =
      decoder.make_memory_caches(context, x, std::vector<Index>{40, 9});
  check("Decoder, with caches", [&](Context& c) {
    decoder.forward(
        c, x, {.self = {.mask = causal(Corner::bottom_right)}, .caches = caches, .memory_caches = memory},
        y.view());
  });
}

TEST_F(SteadyState, OfModelsMakesNoSystemCall) {
  const std::vector<std::int32_t> ids = random_ids(40, 40);
  const std::vector<Index> offsets{0, 15, 40};
  const BertModel<float> bert = tiny_bert();
  Tensor<float, 2> states({40, 32});
  check("BertModel", [&](Context& c) { bert.forward(c, ids, {}, offsets, states.view()); });
  for (const bool disentangled : {false, true}) {
    const BertModel<float> kin = tiny_bert_kin(disentangled);
    check("BertModel's kin", [&](Context& c) { kin.forward(c, ids, {}, offsets, states.view()); });
  }
  Tensor<float, 2> wide({40, 50});
  check("BertModel into columns",
        [&](Context& c) { bert.forward(c, ids, {}, offsets, wide.view().slice(1, 7, 39)); });

  const CausalLM<float> lm = tiny_causal_lm();
  CausalCache<float> cache = lm.make_cache(2);
  for (KVCache<float>& layer : cache.layers()) layer.reserve(500);
  Tensor<float, 3> logits({2, 1, 50});
  check("CausalLM, a prompt", [&](Context& c) {
    for (Index b : {0, 1}) cache.rewind(b, 0);
    lm.forward(c, {ids.data(), {2, 20}}, cache, logits.view());
  });
  check("CausalLM, token by token", [&](Context& c) {
    lm.forward(c, {ids.data(), {2, 1}}, cache, logits.view());
  });

  for (const PositionKind positions :
       {PositionKind::learned, PositionKind::sinusoidal, PositionKind::relative}) {
    const Seq2Seq<float> seq2seq = tiny_seq2seq(positions);
    const std::vector<Index> lengths{20, 13};
    Tensor<float, 3> memory({2, 20, 32});
    check("Seq2Seq, a source", [&](Context& c) {
      seq2seq.encode(c, {ids.data(), {2, 20}}, lengths, memory.view());
    });
    Context context;
    DecoderCache<float> translation = seq2seq.make_cache(context, memory, lengths);
    for (KVCache<float>& layer : translation.targets) layer.reserve(64);
    Tensor<float, 3> next({2, 1, 40});
    check("Seq2Seq, token by token", [&](Context& c) {
      seq2seq.decode(c, {ids.data(), {2, 1}}, translation, next.view());
    });
  }
}

}  // namespace
#endif
