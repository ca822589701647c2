//! Printed kernels on a device: the driver's assembler, memory, launches, timing. The CUDA driver library is opened at
//! run time, so that a program built with this feature also starts on a machine without a GPU.
//!
//! Invariants: a launch checks every buffer's size against the kernel's layout under the symbols it is given, so a kernel
//! that keeps the loop IR's bounds touches no other allocation; work is ordered by one stream for each [`Device`]; the
//! status that `Check` instructions raise is read by [`Device::finish`], which also resets it.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result, sys};
use kiln_ir::Symbol;
use kiln_ir::loops::Kernel;

use super::entry_name;

/// Bytes of the driver's error log that are kept.
const LOG_BYTES: usize = 16 * 1024;

/// A GPU with one stream of work.
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// The i32 cell whose address every launch passes last.
    status: CudaSlice<i32>,
}

/// Memory of a device: bytes, aligned to 256.
pub struct DeviceBuffer {
    bytes: CudaSlice<u8>,
    /// What the caller asked for; an allocation is never empty.
    len: usize,
}

impl DeviceBuffer {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the size is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// PTX assembled for a device.
struct Module {
    handle: sys::CUmodule,
    context: Arc<CudaContext>,
}

impl Drop for Module {
    fn drop(&mut self) {
        // `synchronize` binds the context; launches under way end before their code goes.
        if self.context.synchronize().is_ok() {
            // SAFETY: the handle came from cuModuleLoadDataEx in this context and is unloaded once; kernels taken from it
            // hold the module alive, so none of its functions can be launched any more.
            let _ = unsafe { sys::cuModuleUnload(self.handle) };
        }
    }
}

// SAFETY: a module handle may be used from any thread that has bound its context; `context` is bound before each use.
unsafe impl Send for Module {}
// SAFETY: as above; the driver serializes calls on one module.
unsafe impl Sync for Module {}

/// A kernel ready to launch.
pub struct LoadedKernel {
    function: sys::CUfunction,
    /// Keeps the code in memory.
    _module: Arc<Module>,
    /// What the launch checks against.
    kernel: Kernel,
}

// SAFETY: a function handle is part of its module and follows the same rule.
unsafe impl Send for LoadedKernel {}
// SAFETY: as above.
unsafe impl Sync for LoadedKernel {}

impl Device {
    /// Number of GPUs; an error if there is no driver.
    pub fn count() -> Result<usize> {
        // SAFETY: only opens the driver library, whose initializers take no arguments.
        ensure!(unsafe { sys::is_culib_present() }, "no CUDA driver library (libcuda.so.1) on this machine");
        result::init().context("the CUDA driver does not start")?;
        Ok(CudaContext::device_count().context("counting GPUs")? as usize)
    }

    /// Opens the GPU with this number.
    pub fn open(ordinal: usize) -> Result<Device> {
        let n = Device::count()?;
        ensure!(ordinal < n, "GPU {ordinal} does not exist: this machine has {n}");
        let context = CudaContext::new(ordinal).with_context(|| format!("opening GPU {ordinal}"))?;
        let stream = context.default_stream();
        let status = stream.alloc_zeros::<i32>(1).context("allocating the status cell")?;
        Ok(Device { context, stream, status })
    }

    /// Name as the driver gives it, and the compute capability.
    pub fn description(&self) -> Result<(String, (i32, i32))> {
        Ok((self.context.name()?, self.context.compute_capability()?))
    }

    /// Version of the driver's CUDA interface, as 1000 * major + 10 * minor.
    pub fn driver_version(&self) -> Result<i32> {
        let mut v = 0;
        // SAFETY: writes one int through a valid pointer.
        unsafe { sys::cuDriverGetVersion(&mut v) }.result().context("asking for the driver's version")?;
        Ok(v)
    }

    /// Assembles a module that [`super::print_module`] printed and finds its kernels.
    ///
    /// # Errors
    /// What the driver's assembler says, with its log.
    pub fn load(&self, ptx: &str, kernels: &[&Kernel]) -> Result<Vec<LoadedKernel>> {
        self.context.bind_to_thread()?;
        let text = CString::new(ptx).context("PTX text with a zero byte")?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [
            sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // The size travels as the value itself, widened to a pointer.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
        let mut handle = std::ptr::null_mut();
        // SAFETY: the text is zero-terminated; options and values are two arrays of two, and the log buffer has the size
        // that is passed and outlives the call.
        let code = unsafe {
            sys::cuModuleLoadDataEx(
                &mut handle,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        if let Err(e) = code.result() {
            let end = log.iter().position(|b| *b == 0).unwrap_or(LOG_BYTES);
            bail!("the driver refuses the PTX: {e}\n{}", String::from_utf8_lossy(&log[..end]));
        }
        let module = Arc::new(Module { handle, context: self.context.clone() });
        kernels.iter().map(|k| self.function(&module, k)).collect()
    }

    fn function(&self, module: &Arc<Module>, kernel: &Kernel) -> Result<LoadedKernel> {
        let name = CString::new(entry_name(kernel)).context("a kernel's name with a zero byte")?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, the name is zero-terminated, the result pointer is valid.
        let code = unsafe { sys::cuModuleGetFunction(&mut function, module.handle, name.as_ptr()) };
        code.result().with_context(|| format!("the module has no entry for kernel `{}`", kernel.name))?;
        Ok(LoadedKernel { function, _module: module.clone(), kernel: kernel.clone() })
    }

    /// Zeroed memory.
    pub fn alloc(&self, bytes: usize) -> Result<DeviceBuffer> {
        let slice = self.stream.alloc_zeros::<u8>(bytes.max(1));
        let slice = slice.with_context(|| format!("allocating {bytes} bytes on the GPU"))?;
        Ok(DeviceBuffer { bytes: slice, len: bytes })
    }

    /// A copy of host memory.
    pub fn upload(&self, data: &[u8]) -> Result<DeviceBuffer> {
        let mut buffer = self.alloc(data.len())?;
        if !data.is_empty() {
            self.stream.memcpy_htod(data, &mut buffer.bytes).context("copying to the GPU")?;
        }
        Ok(buffer)
    }

    /// A copy on the host, after all work so far.
    pub fn download(&self, buffer: &DeviceBuffer) -> Result<Vec<u8>> {
        let mut data = self.stream.clone_dtoh(&buffer.bytes).context("copying from the GPU")?;
        self.stream.synchronize()?;
        data.truncate(buffer.len);
        Ok(data)
    }

    /// Starts a kernel; returns before it ends. Global buffers in slot order, then the symbols' values.
    ///
    /// # Errors
    /// A wrong number of buffers or symbols, a buffer smaller than the kernel's layout needs, too many tasks.
    pub fn launch(&self, k: &LoadedKernel, buffers: &[&DeviceBuffer], symbols: &[i64]) -> Result<()> {
        let kernel = &k.kernel;
        let named = || format!("kernel `{}`", kernel.name);
        ensure!(
            symbols.len() == kernel.symbols.len(),
            "{}: {} symbols given for {}",
            named(),
            symbols.len(),
            kernel.symbols.len()
        );
        let bind = |s: &Symbol| kernel.symbols.iter().position(|t| t == s).and_then(|i| symbols.get(i).copied());
        let params: Vec<_> = kernel.params().collect();
        ensure!(params.len() == buffers.len(), "{}: {} buffers given for {}", named(), buffers.len(), params.len());
        let mut slots: Vec<u64> = vec![];
        for ((_, want), got) in params.iter().zip(buffers) {
            let elements = want.layout.size.eval(&bind).and_then(|n| usize::try_from(n).ok());
            let bytes = elements.and_then(|n| n.checked_mul(want.dtype.size()));
            let bytes =
                bytes.ok_or_else(|| anyhow!("{}: buffer `{}` has no size for these symbols", named(), want.name))?;
            ensure!(got.len >= bytes, "{}: buffer `{}` has {} bytes, {bytes} are needed", named(), want.name, got.len);
            slots.push(got.bytes.device_ptr(&self.stream).0);
        }
        slots.extend(symbols.iter().map(|s| *s as u64));
        slots.push(self.status.device_ptr(&self.stream).0);
        let tasks = kernel.tasks.eval(&bind).ok_or_else(|| anyhow!("{}: the number of tasks is unknown", named()))?;
        if tasks <= 0 {
            return Ok(());
        }
        let blocks = u32::try_from(tasks).ok().filter(|n| *n < 1 << 31);
        let blocks = blocks.ok_or_else(|| anyhow!("{}: {tasks} tasks exceed a grid", named()))?;
        let mut pointers: Vec<*mut c_void> = slots.iter_mut().map(|s| std::ptr::from_mut(s).cast()).collect();
        self.context.bind_to_thread()?;
        // SAFETY: the entry's parameters are exactly these 8-byte slots (one for each global buffer and symbol, and the
        // status); the buffers live at least until the stream is synchronized, because freeing one is ordered behind the
        // launch in the same stream; their sizes were checked against the kernel's layouts.
        unsafe {
            let cu = self.stream.cu_stream();
            result::launch_kernel(k.function, (blocks, 1, 1), (kernel.threads, 1, 1), 0, cu, &mut pointers)
        }
        .with_context(|| format!("{}: launching {blocks} blocks of {} threads", named(), kernel.threads))
    }

    /// Waits for all work; the status of the runs since the last call, 0 when all is well.
    pub fn finish(&mut self) -> Result<i32> {
        self.stream.synchronize().context("a kernel failed on the GPU")?;
        let status = self.stream.clone_dtoh(&self.status)?;
        self.stream.memset_zeros(&mut self.status)?;
        self.stream.synchronize()?;
        status.first().copied().ok_or_else(|| anyhow!("the status cell is empty"))
    }

    /// Milliseconds on the device of one call of `work`, as the mean of `times` calls in a row.
    pub fn time(&self, times: u32, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let (start, end) = (self.context.new_event(flags)?, self.context.new_event(flags)?);
        start.record(&self.stream)?;
        for _ in 0..times {
            work()?;
        }
        end.record(&self.stream)?;
        Ok(f64::from(start.elapsed_ms(&end)?) / f64::from(times.max(1)))
    }
}
