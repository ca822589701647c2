#define GUARD 64
static int failures;

static void check(int ok, const char *what)
{
    if (!ok) {
        printf("FAIL %s\n", what);
        failures++;
    }
}

/* Memory aligned to 64 bytes with guard bytes behind it; it lives as long as the program. */
static unsigned char *block(size_t bytes)
{
    unsigned char *p = (unsigned char *)malloc(bytes + GUARD + 63);
    if (!p) {
        printf("FAIL no memory for %lu bytes\n", (unsigned long)bytes);
        exit(1);
    }
    p += (64 - (size_t)((uintptr_t)p & 63)) & 63;
    memset(p, 0xA5, bytes + GUARD);
    return p;
}

static int guarded(const unsigned char *p, size_t bytes)
{
    size_t i;
    for (i = 0; i < GUARD; i++)
        if (p[bytes + i] != 0xA5) return 0;
    return 1;
}

/* Runs the tasks one after another, the last one first. */
static void backwards(void *self, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
    ++*(size_t *)self;
    while (n > 0) body(arg, --n);
}

static double from_half(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
             : exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -x : x;
}

/* Number n of an array of floats; complex ones count twice. */
static double number(int32_t dtype, const unsigned char *data, size_t n)
{
    if (dtype == KILN_F64 || dtype == KILN_C128) {
        double x;
        memcpy(&x, data + n * sizeof x, sizeof x);
        return x;
    }
    if (dtype == KILN_F16 || dtype == KILN_BF16) {
        uint16_t h;
        uint32_t wide;
        float x;
        memcpy(&h, data + n * sizeof h, sizeof h);
        if (dtype == KILN_F16) return from_half(h);
        wide = (uint32_t)h << 16;
        memcpy(&x, &wide, sizeof x);
        return x;
    } else {
        float x;
        memcpy(&x, data + n * sizeof x, sizeof x);
        return x;
    }
}

static size_t number_size(int32_t dtype)
{
    return dtype == KILN_F64 || dtype == KILN_C128 ? 8 : dtype == KILN_F16 || dtype == KILN_BF16 ? 2 : 4;
}

/* max |a - b| / max |b|; infinity where one is finite or a number and the other is not. */
static double relative_error(const port *p, const unsigned char *got)
{
    double worst = 0, scale = 0;
    size_t i, n = p->bytes / number_size(p->dtype);
    for (i = 0; i < n; i++) {
        double a = number(p->dtype, got, i), b = number(p->dtype, p->data, i);
        if (isfinite(b) && fabs(b) > scale) scale = fabs(b);
        if (a == b || (isnan(a) && isnan(b))) continue;
        if (!isfinite(a) || !isfinite(b)) return (double)INFINITY;
        if (fabs(a - b) > worst) worst = fabs(a - b);
    }
    return worst == 0 ? 0 : worst / (scale > 1e-30 ? scale : 1e-30);
}

static void compare(const port *p, const unsigned char *got)
{
    int equal = memcmp(got, p->data, p->bytes) == 0;
    if (p->tolerance < 0) {
        printf("%s %s: %s\n", equal ? "PASS" : "FAIL", p->name, equal ? "equal" : "elements differ");
        failures += !equal;
    } else {
        double error = relative_error(p, got);
        int ok = error <= p->tolerance;
        printf("%s %s: largest relative error %.3g\n", ok ? "PASS" : "FAIL", p->name, error);
        failures += !ok;
    }
}

static void check_table(const kiln_tensor *table, int32_t count, const port *ports)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        check(kiln_tensor_index(table, count, ports[i].name) >= 0, "a name is missing in the table of tensors");
        check(strcmp(table[i].name, ports[i].name) == 0, "a name in the table of tensors");
        check(table[i].dtype == ports[i].dtype, "an element type in the table of tensors");
    }
    check(kiln_tensor_index(table, count, "no such tensor") == -1, "a name that does not exist is found");
}

static const void *load_weights(const char *path)
{
#ifdef WEIGHTS_FILE
    unsigned char *p = block(UPPER_WEIGHTS_BYTES);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, WEIGHTS_OFFSET, SEEK_SET) != 0 || fread(p, 1, UPPER_WEIGHTS_BYTES, f) != UPPER_WEIGHTS_BYTES) {
        printf("FAIL cannot read %lu bytes of weights from %s: name the file as the first argument\n",
               (unsigned long)UPPER_WEIGHTS_BYTES, path);
        exit(1);
    }
    fclose(f);
    return p;
#else
    (void)path;
    return NULL;
#endif
}

int main(int argc, char **argv)
{
    void *inputs[UPPER_INPUTS + 1] = { NULL }, *outputs[UPPER_OUTPUTS + 1] = { NULL }, *again[UPPER_OUTPUTS + 1] = { NULL };
    size_t loops = 0, bytes, total = 0;
    kiln_parallel parallel;
    PREFIX_args a, b;
    unsigned char *workspace;
    const void *weights;
    kiln_status s;
    int32_t i;
#ifdef WEIGHTS_FILE
    weights = load_weights(argc > 1 ? argv[1] : WEIGHTS_FILE);
#else
    weights = load_weights(argc > 1 ? argv[1] : "");
#endif
    for (i = 0; i < UPPER_INPUTS; i++) {
        inputs[i] = block(input_ports[i].bytes);
        memcpy(inputs[i], input_ports[i].data, input_ports[i].bytes);
    }
    for (i = 0; i < UPPER_OUTPUTS; i++) {
        outputs[i] = block(output_ports[i].bytes);
        again[i] = block(output_ports[i].bytes);
        total += output_ports[i].bytes;
    }
    bind(&a, inputs, outputs, weights);
    bind(&b, inputs, again, weights);
    for (i = 0; i < UPPER_INPUTS; i++)
        check(PREFIX_input_elems(&a, i) * (size_t)PREFIX_inputs[i].element_size == input_ports[i].bytes, "the size of an input");
    for (i = 0; i < UPPER_OUTPUTS; i++)
        check(PREFIX_output_elems(&a, i) * (size_t)PREFIX_outputs[i].element_size == output_ports[i].bytes, "the size of an output");
    check_table(PREFIX_inputs, UPPER_INPUTS, input_ports);
    check_table(PREFIX_outputs, UPPER_OUTPUTS, output_ports);

    bytes = PREFIX_workspace_size(&a);
    workspace = block(bytes);
    s = PREFIX_run(&a, workspace, NULL);
    if (s) {
        printf("FAIL %s\n", kiln_status_string(s));
        return 1;
    }
    for (i = 0; i < UPPER_OUTPUTS; i++) {
        compare(&output_ports[i], (const unsigned char *)outputs[i]);
        check(guarded((const unsigned char *)outputs[i], output_ports[i].bytes), "something is written behind an output");
    }
    check(guarded(workspace, bytes), "something is written behind the workspace");

    /* Other tasks first, and a workspace full of what the first run left: the same bits. */
    parallel.self = &loops;
    parallel.parallel_for = backwards;
    check(PREFIX_run(&b, workspace, &parallel) == KILN_OK, "the run with a parallel_for");
    for (i = 0; i < UPPER_OUTPUTS; i++)
        check(memcmp(outputs[i], again[i], output_ports[i].bytes) == 0, "another order of tasks gives other bits");
    check(guarded(workspace, bytes), "tasks run backwards write behind the workspace");

    if (UPPER_INPUTS + UPPER_OUTPUTS > 0) check(PREFIX_run(NULL, workspace, NULL) != KILN_OK, "missing arguments are accepted");
    if (bytes > 0) {
        check(PREFIX_run(&a, NULL, NULL) == KILN_NULL_POINTER, "a missing workspace is accepted");
        check(PREFIX_run(&a, workspace + 8, NULL) == KILN_WORKSPACE_MISALIGNED, "a misaligned workspace is accepted");
    }
    printf("%s PREFIX: %lu bytes of output, %lu bytes of workspace, %lu parallel loops\n", failures ? "FAIL" : "PASS",
           (unsigned long)total, (unsigned long)bytes, (unsigned long)loops);
    return failures ? 1 : 0;
}
