// The environment of the bf16 instructions: to nearest, denormals flushed.

inline unsigned flush() {
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x9fc0);
    return before;
}
inline void unflush(unsigned before) { __builtin_ia32_ldmxcsr(before); }
