#!/usr/bin/env python3
"""Compiles statements that must not compile, and looks for the messages that say why; and some that must.

    refused.py --include=DIR --eigen=-isystemDIR ... --cxx=COMPILER
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

# Number types without std::numeric_limits: infinity() would be Bare(0), and a masked score 0. Each N is another type,
# since a compiler says of a type but once what it lacks.
BARE = """
namespace user {
template <int N>
struct Bare {
  double value = 0;
  Bare() = default;
  Bare(double v) : value(v) {}
  friend Bare operator+(Bare a, Bare b) { return a.value + b.value; }
  friend Bare operator-(Bare a, Bare b) { return a.value - b.value; }
  friend Bare operator*(Bare a, Bare b) { return a.value * b.value; }
  friend Bare operator/(Bare a, Bare b) { return a.value / b.value; }
  friend Bare operator-(Bare a) { return -a.value; }
  Bare& operator+=(Bare b) { return *this = *this + b; }
  Bare& operator*=(Bare b) { return *this = *this * b; }
  friend bool operator==(Bare a, Bare b) { return a.value == b.value; }
  friend bool operator<(Bare a, Bare b) { return a.value < b.value; }
  friend bool operator>(Bare a, Bare b) { return a.value > b.value; }
  friend Bare exp(Bare x) { return std::exp(x.value); }
  friend Bare log(Bare x) { return std::log(x.value); }
  friend Bare sqrt(Bare x) { return std::sqrt(x.value); }
  friend Bare tanh(Bare x) { return std::tanh(x.value); }
};
struct Nothing {};
struct alignas(64) Wide { float values[4]; };
}  // namespace user
template <> struct std::numeric_limits<user::Bare<0>> : std::numeric_limits<double> {};
template <> struct std::numeric_limits<user::Bare<1>> : std::numeric_limits<double> {};
using namespace attend;
template <class Scalar> Tensor<Scalar, 2> x({2, 3});
template <class Scalar> Tensor<Scalar, 4> q({1, 1, 2, 3});
template <int Rank, class T = float> Tensor<T, Rank> make();
Tensor<float, 2> a, b;
Tensor<float, 3> c;
Tensor<std::int32_t, 2> ids;
const Tensor<bool, 2> padding;
Linear<float> linear;
const user::Wide wide{};
"""
COMPILES = ["softmax(x<double>); scaled_dot_product_attention(q<double>, q<double>, q<double>); activate(Activation::gelu, x<double>);",
            "linear(make<2>()); make<1>()[0]; make<2>().to_vector(); for (float v : make<2>()) (void)v;",
            "TensorView<float, 2> view; view = a; view = b.view(); a[0] += b[0]; copy(b[0], a[0]);",
            "softmax(x<user::Bare<0>>); LayerNorm<user::Bare<0>> norm; activate(Activation::gelu, x<user::Bare<1>>); Mask mask = additive(q<user::Bare<0>>.view());"]
INTEGERS = "integers have no fractions"
NO_LIMITS = "a scalar must specialise std::numeric_limits"
ALIGNED = "aligned too strictly"
DELETED = "delete"
MANY = "more than 16 numbers in braces"
REFUSED = [
    ("softmax(x<int>);", INTEGERS),
    ("log_softmax(x<long>);", INTEGERS),
    ("activate(Activation::relu, x<short>);", INTEGERS),
    ("swish(x<unsigned>);", INTEGERS),
    ("scaled_dot_product_attention(q<unsigned char>, q<unsigned char>, q<unsigned char>);", INTEGERS),
    ("{ Mask mask = additive(q<unsigned short>.view()); }", INTEGERS),
    ("rotate<long long>(default_context(), q<long long>, {}, {});", INTEGERS),
    ("LayerNorm<unsigned long>();", INTEGERS),
    ("Linear<signed char>();", INTEGERS),
    ("FeedForward<unsigned long long>();", INTEGERS),
    ("MultiHeadAttention<char>();", INTEGERS),
    ("Rotary<char16_t>();", INTEGERS),
    ("RelativeBias<char32_t>();", INTEGERS),
    ("sinusoidal_positions<wchar_t>(2, 2);", INTEGERS),
    ("alibi_slopes<char8_t>(2);", INTEGERS),
    ("softmax(x<user::Bare<2>>);", NO_LIMITS),
    ("scaled_dot_product_attention(q<user::Bare<3>>, q<user::Bare<3>>, q<user::Bare<3>>);", NO_LIMITS),
    ("{ Mask mask = additive(q<user::Bare<4>>.view()); }", NO_LIMITS),
    # Views of temporary tensors, whose elements would be gone.
    ("make<2>().view();", DELETED),
    ("make<2>().span();", DELETED),
    ("make<2>().begin();", DELETED),
    ("make<2>().end();", DELETED),
    ("make<2>()[0];", DELETED),
    ("make<2>().slice(0, 0, 1);", DELETED),
    ("make<2>().transpose(0, 1);", DELETED),
    ("make<2>().permute<1, 0>();", DELETED),
    ("make<2>().reshape(-1);", DELETED),
    ("make<2>().reshape<1>({-1});", DELETED),
    ("make<2>().rows();", DELETED),
    ("make<2>().matrix();", DELETED),
    ("std::move(a).view();", DELETED),
    ("heads(make<3>(), 2);", DELETED),
    ("boolean(make<2, bool>());", DELETED),
    ("additive(make<2>());", DELETED),
    ("blocks(make<2, bool>(), 2);", DELETED),
    ("key_padding_mask(make<2, bool>());", DELETED),
    ("segments(make<2, std::int32_t>());", DELETED),
    ("segments(ids, make<2, std::int32_t>());", DELETED),
    ("segments(make<2, std::int32_t>(), ids);", DELETED),
    ("lengths(std::vector<Index>{3, 5});", DELETED),
    ("{ AttentionOptions<float> options{.key_lengths = std::vector<Index>{3, 5}}; }", DELETED),
    ("lengths({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});", MANY),
    # Elements are copied by copy(b[0], a[0]); a[0] is a view that is gone at once.
    ("a[0] = b[0];", DELETED),
    ("a.view() = b;", DELETED),
    ("a.slice(0, 0, 1) = b.view();", DELETED),
    # What goes away says what takes its place.
    ("not_padding(padding);", "its name is key_padding_mask"),
    # What a function asks of its arguments is named, at the line of the call.
    ("c.matrix();", "IndicesOfMatrix"),
    ("c.view().matrix();", "IndicesOfMatrix"),
    ("a.permute<0, 0>();", "EachAxisOnce"),
    ("linear(make<2, double>());", "LayerInput"),
    ("linear.forward(default_context(), a, make<2>());", "Rows<float>"),
    ("LayerNorm<user::Nothing>();", "be made from an int and a double"),
    ("{ Mask mask = visible_if([v = wide](Index, Index, Index, Index) { return v.values[0] > 0; }); }", ALIGNED),
    ("{ ScoreModifier<float> modifier = [v = wide](float s, Index, Index, Index, Index) { return s + v.values[0]; }; }", ALIGNED),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--include", required=True)
    parser.add_argument("--eigen", action="append", default=[])
    parser.add_argument("--cxx", required=True)
    options = parser.parse_args()

    def compile(statements):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "program.cpp")
            lines = ["#include <cmath>", "#include <limits>", "#include <attend/attend.hpp>", BARE, "int main() {", *statements, "}"]
            source.write_text("\n".join(lines))
            first = source.read_text().splitlines().index("int main() {") + 2
            limit = "-ferror-limit=0" if "clang" in options.cxx else "-fmax-errors=0"
            run = subprocess.run([options.cxx, "-std=c++20", "-DATTEND_ONLY_BASELINE", "-fsyntax-only",
                                  "-Werror=deprecated-declarations", limit, f"-I{options.include}",
                                  *options.eigen, source], capture_output=True, text=True)
        return run.returncode, run.stderr, first

    failed = 0
    status, output, _ = compile(COMPILES)
    if status != 0:
        failed += 1
        print(f"expected to compile: {COMPILES}\n{output}")
    status, output, first = compile([statement for statement, _ in REFUSED])
    lines = output.splitlines()
    for number, (statement, message) in enumerate(REFUSED):  # each of them takes part in an error
        here = [line for line in lines if f"program.cpp:{first + number}:" in line]
        if not here or (message == DELETED and not any("error:" in line and message in line for line in here)):
            failed += 1
            print(f"expected an error: {statement}")
    for message in sorted({message for _, message in REFUSED}):
        expected = sum(message == other for _, other in REFUSED)
        got = sum(("error:" in line or "note:" in line) and message in line for line in lines)
        if got < expected:
            failed += 1
            print(f"expected {expected} times or more, got {got} times: {message}")
    print(f"{failed} failed")
    return 1 if failed else 0


sys.exit(main())
