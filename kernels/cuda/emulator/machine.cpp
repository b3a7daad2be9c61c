// A CUDA machine of one processor: it runs the blocks of a kernel one after the other, each on fibres.
//
// A fibre runs thread after thread, until one has to wait at a barrier; then a fresh fibre takes over the threads not
// yet begun. When all have finished or wait, the barrier opens, if all who must be there are there.
//
// g++ -fsanitize=thread puts a call of __tsan_readN or __tsan_writeN in front of every access to memory that is not a
// thread's own. Usually ThreadSanitizer's library answers those calls; here we do, and know three things about each
// access: whether the address lies inside an argument or in shared memory, whether anything has been written there
// before, and whether another thread has been there with no barrier between (a race).
#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <ucontext.h>

#include "cuda.h"

extern char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

namespace emulator {

Position position;

namespace {

constexpr int MOST_THREADS = 1024, STACK = 1 << 18;

// -- errors -----------------------------------------------------------------------------------------------------------

char message[2000];
jmp_buf outside;  // of all fibres

const char* thread_name(int thread, unsigned long long block) {
    static char names[2][100];
    static int next;
    char* name = names[next ^= 1];
    dim3 b = position.block_size, g = position.grid_size;
    snprintf(name, sizeof names[0], "thread (%u,%u,%u) of block (%llu,%llu,%llu)", thread % b.x, thread / b.x % b.y,
             thread / b.x / b.y, block % g.x, block / g.x % g.y, block / g.x / g.y);
    return name;
}

[[noreturn]] void fail(const char* format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    longjmp(outside, 1);
}

// -- what happened to each element of memory --------------------------------------------------------------------------

// When an access was made: two accesses of different threads are in order if a barrier of both lies between them.
struct Access {
    unsigned block;             // counted over all launches, from 1; 0: there was no access
    unsigned short thread, kind;
    unsigned block_barriers, warp_barriers;  // that had been passed by then
    unsigned code;              // where in the program, relative to its start
};
enum { PLAIN, ATOMIC };
struct Cell { Access write, reads[2]; };  // the last write, and the last reads by two different threads

struct Memory {
    char *begin, *end;
    int element;                // bytes that have one cell
    int argument;               // its place in the call, −1: shared memory
    Cell* cells;
    bool is_shared() const { return argument < 0; }
};
constexpr int MOST_ARRAYS = 511;
Memory memories[1 + MOST_ARRAYS];  // shared memory, the arguments
int memory_count;
Memory* recent;

unsigned first_block, block_number, block_barriers;
unsigned warp_barriers[MOST_THREADS];  // that each thread has passed
int current_thread;
char *stack_low, *stack_high;
char* program;                  // where this library begins in memory

bool in_order(const Access& then, const Access& now, bool shared) {
    if (then.block == 0 || (then.kind == ATOMIC && now.kind == ATOMIC)) return true;
    if (then.block != now.block) return shared;  // a block has shared memory of its own
    return then.thread == now.thread || then.block_barriers != now.block_barriers ||
           (then.thread / 32 == now.thread / 32 && then.warp_barriers != now.warp_barriers);
}

const char* verb(bool write) { return write ? "writes" : "reads"; }

void name_memory(const Memory& m, const char* address, char* name, size_t size) {
    if (m.is_shared()) snprintf(name, size, "shared memory");
    else snprintf(name, size, "element %lld of argument {%d}", (long long)(address - m.begin) / m.element, m.argument);
}

[[noreturn]] void race(const Memory& m, const char* address, const Access& then, const Access& now, bool wrote,
                       bool write) {
    char name[100];
    name_memory(m, address, name, sizeof name);
    const char* why = then.block == now.block ? "no barrier stands between" : "nothing orders the blocks of a kernel";
    fail("{@%x}: race: %s %s %s, which %s %s at {@%x}, and %s", now.code,
         thread_name(now.thread, now.block - first_block), verb(write), name,
         thread_name(then.thread, then.block - first_block), wrote ? "wrote" : "read", then.code, why);
}

void note(const Memory& m, char* address, int size, bool write, const Access& now) {
    for (char* at = address; at < address + size; at += m.element) {
        Cell& cell = m.cells[(at - m.begin) / m.element];
        if (!in_order(cell.write, now, m.is_shared())) race(m, at, cell.write, now, true, write);
        if (write) {
            for (const Access& read : cell.reads)
                if (!in_order(read, now, m.is_shared())) race(m, at, read, now, false, true);
            cell.write = now;
        } else {
            if (m.is_shared() && cell.write.block != now.block)
                fail("{@%x}: %s reads shared memory that no thread of its block has written", now.code,
                     thread_name(now.thread, now.block - first_block));
            if (cell.reads[0].block != now.block || cell.reads[0].thread != now.thread) cell.reads[1] = cell.reads[0];
            cell.reads[0] = now;
        }
    }
}

void access(void* pointer, int size, bool write, int kind, void* code) {
    char* address = static_cast<char*>(pointer);
    if (address >= stack_low && address < stack_high) return;
    if (pointer >= &position && pointer < &position + 1) return;
    Access now = {block_number, static_cast<unsigned short>(current_thread), static_cast<unsigned short>(kind),
                  block_barriers, warp_barriers[current_thread],
                  static_cast<unsigned>(static_cast<char*>(code) - 1 - program)};
    if (recent && address >= recent->begin && address + size <= recent->end)
        return note(*recent, address, size, write, now);
    const Memory* nearest = nullptr;
    long long distance = LLONG_MAX;
    for (Memory* m = memories; m < memories + memory_count; m++) {
        if (address >= m->begin && address + size <= m->end) {
            recent = m;
            return note(*m, address, size, write, now);
        }
        long long away = address < m->begin ? m->begin - address : address + size - m->end;
        if (!m->is_shared() && away < distance) { distance = away; nearest = m; }
    }
    const char* who = thread_name(current_thread, block_number - first_block);
    if (nearest && distance <= 1 << 20)
        fail("{@%x}: out of bounds: %s %s %d bytes at index %lld of argument {%d}, which has %lld elements", now.code,
             who, verb(write), size, (long long)(address - nearest->begin) / nearest->element, nearest->argument,
             (long long)(nearest->end - nearest->begin) / nearest->element);
    fail("{@%x}: out of bounds: %s %s %d bytes at address %p, which belongs to no argument", now.code, who, verb(write),
         size, pointer);
}

// -- fibres -----------------------------------------------------------------------------------------------------------

enum Waiting { NOT, FOR_BLOCK, FOR_WARP, ENDED };

struct Fibre {
    char* stack;
    jmp_buf inside;
    bool begun;
    int thread;
    Waiting waiting;
    unsigned lanes;
    Location location;
};

Fibre fibres[MOST_THREADS];
Fibre* free_fibres[MOST_THREADS];
Fibre* live[MOST_THREADS];      // that hold a thread which waits
Fibre* holder[MOST_THREADS];    // of each thread that waits; null before it first does and after its end
Fibre* running;
int free_count = -1, live_count, thread_count, next_thread, finished;
int order[MOST_THREADS];
bool has_finished[MOST_THREADS];
const Kernel* kernel;
void** kernel_arguments;
jmp_buf scheduler;
unsigned long long random_state;

unsigned random_below(unsigned n) {  // splitmix64
    unsigned long long z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return static_cast<unsigned>((z ^ z >> 31) % n);
}

template <class T> void shuffle_order(T* items, int n) {
    if (random_state)
        for (int i = n - 1; i > 0; i--) std::swap(items[i], items[random_below(i + 1)]);
}

void become(int thread) {
    dim3 b = position.block_size;
    current_thread = thread;
    position.thread = {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
}

void fibre_main() {
    for (;;) {
        while (next_thread < thread_count) {
            running->thread = order[next_thread++];
            become(running->thread);
            kernel->call(kernel_arguments);
            holder[running->thread] = nullptr;
            has_finished[running->thread] = true;
            finished++;
        }
        running->waiting = ENDED;
        if (!_setjmp(running->inside)) _longjmp(scheduler, 1);
    }
}

void resume(Fibre* fibre) {
    running = fibre;
    fibre->waiting = NOT;
    stack_low = fibre->stack;
    stack_high = fibre->stack + STACK;
    if (_setjmp(scheduler)) return;
    if (fibre->begun) {
        become(fibre->thread);
        _longjmp(fibre->inside, 1);
    }
    fibre->begun = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fibre->stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, fibre_main, 0);
    setcontext(&context);
}

void wait(Waiting reason, unsigned lanes, Location location) {
    holder[running->thread] = running;
    running->waiting = reason;
    running->lanes = lanes;
    running->location = location;
    if (!_setjmp(running->inside)) _longjmp(scheduler, 1);
}

Fibre* fresh_fibre() {
    if (free_count < 0)
        for (free_count = 0; free_count < MOST_THREADS; free_count++) free_fibres[free_count] = &fibres[free_count];
    Fibre* fibre = free_fibres[--free_count];
    if (!fibre->stack) fibre->stack = static_cast<char*>(malloc(STACK));
    return fibre;
}

// -- barriers ---------------------------------------------------------------------------------------------------------

// Whether the lanes that this one waits for are all there.
bool warp_is_complete(const Fibre& fibre) {
    int first = fibre.thread & ~31;
    for (int lane = 0; lane < 32 && first + lane < thread_count; lane++) {
        if (!(fibre.lanes >> lane & 1)) continue;
        const Fibre* other = holder[first + lane];
        if (!other || other->waiting != FOR_WARP || other->lanes != fibre.lanes ||
            other->location.line != fibre.location.line || other->location.file != fibre.location.file)
            return false;
    }
    return true;
}

// The fibres that may go on, in front of live; 0 if none may.
int open_barriers() {
    bool all_at_block = finished == 0;
    for (int i = 0; i < live_count; i++)
        all_at_block &= live[i]->waiting == FOR_BLOCK && live[i]->location.line == live[0]->location.line &&
                        live[i]->location.file == live[0]->location.file;
    if (all_at_block) {
        block_barriers++;
        return live_count;
    }
    bool open[MOST_THREADS];
    int count = 0;
    for (int i = 0; i < live_count; i++) open[i] = live[i]->waiting == FOR_WARP && warp_is_complete(*live[i]);
    for (int i = 0; i < live_count; i++)
        if (open[i]) std::swap(live[i], live[count++]);
    return count;
}

[[noreturn]] void report_divergence() {
    const Fibre& one = *live[0];
    const char* what = one.waiting == FOR_BLOCK ? "__syncthreads()" : "a warp";
    char rest[200];
    const Fibre* elsewhere = nullptr;
    for (int i = 1; i < live_count; i++)
        if (live[i]->location.line != one.location.line || live[i]->waiting != one.waiting) elsewhere = live[i];
    if (elsewhere)
        snprintf(rest, sizeof rest, "%s waits at {%s:%d}", thread_name(elsewhere->thread, block_number - first_block),
                 elsewhere->location.file, elsewhere->location.line);
    else {
        int gone = 0;
        while (gone < thread_count - 1 && !has_finished[gone]) gone++;
        snprintf(rest, sizeof rest, "%s has left the kernel", thread_name(gone, block_number - first_block));
    }
    fail("{%s:%d}: barrier divergence: %s waits for %s, but %s", one.location.file, one.location.line,
         thread_name(one.thread, block_number - first_block), what, rest);
}

void run_block() {
    for (int i = 0; i < thread_count; i++) order[i] = i;
    shuffle_order(order, thread_count);
    memset(has_finished, 0, sizeof has_finished);
    memset(holder, 0, sizeof holder);
    memset(warp_barriers, 0, sizeof warp_barriers);
    block_barriers = 0;
    next_thread = finished = 0;
    while (next_thread < thread_count) {  // every thread, up to its first barrier
        Fibre* fibre = live[live_count++] = fresh_fibre();
        resume(fibre);
        if (fibre->waiting == ENDED) free_fibres[free_count++] = live[--live_count];
    }
    while (live_count) {
        int released = open_barriers();
        if (!released) report_divergence();
        shuffle_order(live, released);
        Fibre* now[MOST_THREADS];
        memcpy(now, live, released * sizeof *now);
        for (int i = 0; i < released; i++) resume(now[i]);
        int left = 0;
        for (int i = 0; i < live_count; i++)
            if (live[i]->waiting == ENDED) free_fibres[free_count++] = live[i];
            else live[left++] = live[i];
        live_count = left;
    }
}

}  // namespace

void wait_for_block(Location location) { wait(FOR_BLOCK, 0, location); }

void wait_for_warp(unsigned lanes, Location location) {
    wait(FOR_WARP, lanes, location);
    warp_barriers[current_thread]++;
}

// Unlike a barrier, an exchange says nothing about the order of accesses to memory.
void exchange(unsigned lanes, const void* value, void* values, int size, Location location) {
    static char slots[MOST_THREADS][64];
    memcpy(slots[current_thread], value, size);
    wait(FOR_WARP, lanes, location);
    for (int i = 0; i < 32; i++)
        memcpy(static_cast<char*>(values) + i * size, slots[(current_thread & ~31) + i], size);
    wait(FOR_WARP, lanes, location);
}

void atomic_access(void* address, int size) { access(address, size, true, ATOMIC, __builtin_return_address(0)); }

}  // namespace emulator

// -- from outside -----------------------------------------------------------------------------------------------------

using namespace emulator;

struct Array { char* begin; long long bytes; int element, argument; };

// Run a kernel; null, or what went wrong. {@code} stands for a place in the program, {number} for an argument.
extern "C" __attribute__((visibility("default"))) const char* run_kernel(
    const Kernel* which, const unsigned* grid, const unsigned* block, void** arguments, const Array* arrays,
    int array_count, unsigned long long seed) {
    if (array_count > MOST_ARRAYS) return "more than 511 arrays";
    Dl_info self;
    dladdr(reinterpret_cast<void*>(&run_kernel), &self);
    program = static_cast<char*>(self.dli_fbase);
    position.grid_size = {grid[0], grid[1], grid[2]};
    position.block_size = {block[0], block[1], block[2]};
    kernel = which;
    kernel_arguments = arguments;
    random_state = seed;
    thread_count = block[0] * block[1] * block[2];
    live_count = 0;
    recent = nullptr;

    static Cell* shared_cells;  // survive a launch: blocks are counted on, so that what is old is known to be
    size_t shared_bytes = __stop_shared_memory - __start_shared_memory;
    if (!shared_cells) shared_cells = static_cast<Cell*>(calloc(shared_bytes / 2 + 1, sizeof(Cell)));
    memories[0] = {__start_shared_memory, __stop_shared_memory, 2, -1, shared_cells};
    memory_count = 1;
    for (int i = 0; i < array_count; i++) {
        const Array& a = arrays[i];
        Cell* cells = static_cast<Cell*>(calloc(a.bytes / a.element + 1, sizeof(Cell)));
        memories[memory_count++] = {a.begin, a.begin + a.bytes, a.element, a.argument, cells};
    }

    unsigned blocks = grid[0] * grid[1] * grid[2];
    unsigned* block_order = static_cast<unsigned*>(malloc(blocks * sizeof(unsigned)));
    for (unsigned i = 0; i < blocks; i++) block_order[i] = i;
    shuffle_order(block_order, blocks);
    static unsigned blocks_before = 1;
    first_block = blocks_before;
    blocks_before += blocks;

    const char* error = nullptr;
    if (setjmp(outside)) {
        error = message;
        free_count = -1;  // fibres that were under way begin anew
        for (Fibre& fibre : fibres) fibre.begun = false;
    } else {
        for (unsigned i = 0; i < blocks; i++) {
            unsigned b = block_order[i];
            block_number = first_block + b;
            position.block = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
            run_block();
        }
    }
    free(block_order);
    for (int i = 1; i < memory_count; i++) free(memories[i].cells);
    return error;
}

// What g++ -fsanitize=thread calls.
#define ON_ACCESS(name, write, size)                                                                                  \
    extern "C" void __tsan_##name##size(void* p) { access(p, size, write, PLAIN, __builtin_return_address(0)); }
#define ON_ACCESSES(size)                                                                                             \
    ON_ACCESS(read, false, size) ON_ACCESS(unaligned_read, false, size)                                               \
    ON_ACCESS(write, true, size) ON_ACCESS(unaligned_write, true, size)
ON_ACCESSES(1)
ON_ACCESSES(2)
ON_ACCESSES(4)
ON_ACCESSES(8)
ON_ACCESSES(16)
extern "C" void __tsan_read_range(void* p, size_t size) { access(p, size, false, PLAIN, __builtin_return_address(0)); }
extern "C" void __tsan_write_range(void* p, size_t size) { access(p, size, true, PLAIN, __builtin_return_address(0)); }
extern "C" void __tsan_init() {}
