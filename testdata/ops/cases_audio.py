"""Sound, speech."""
wave = ("data", np.sin(np.arange(80) * 0.7).astype("float32").reshape(40, 2))
for sq in [False, True]:
    case(f"spectrogram_{sq}", "AudioSpectrogram", [wave], [(0, 0)], window_size=12, stride=5, magnitude_squared=sq, grad=False, tol=2e-5)
case("spectrogram_power", "AudioSpectrogram", [wave], window_size=16, stride=16, magnitude_squared=True, grad=False, tol=2e-5)
spec = ("data", (np.arange(2 * 3 * 33) % 17 + 0.5).astype("float32").reshape(2, 3, 33))
M = dict(upper_frequency_limit=4000.0, lower_frequency_limit=20.0, filterbank_channel_count=12, dct_coefficient_count=7)
case("mfcc", "Mfcc", [spec, c(16000)], [(0, 1)], grad=False, tol=1e-5, **M)
case("mfcc_zero", "Mfcc", [("data", np.zeros([1, 1, 65], "float32")), c(8000)], grad=False, tol=1e-5, **M)
wavfile = tf.audio.encode_wav(np.clip(wave[1], -1, 1), 8000).numpy()
case("encode_wav", "EncodeWav", [("data", np.array([[0.0, 0.5], [-1.0, 1.0], [2.0, -2.0], [0.1, -0.1]], "float32")), c(44100)], grad=False)
s = ("data", np.array(wavfile, object))
case("decode_wav", "DecodeWav", [s], desired_channels=-1, desired_samples=-1, grad=False)
case("decode_wav_fixed", "DecodeWav", [s], desired_channels=1, desired_samples=50, grad=False)
case("decode_wav_cut", "DecodeWav", [s], desired_channels=2, desired_samples=3, grad=False)
case("decode_wav_bad", "DecodeWav", [("data", np.array(b"RIFFxxxxWAVE", object))], desired_channels=-1, desired_samples=-1, error=" ")
R = np.random.RandomState(3)
logits = ("data", R.randn(6, 3, 4).astype("float64"))
for merge in [False, True]:
    for blank in [-1, 1]:
        case(f"ctc_greedy_{merge}_{blank}", "CTCGreedyDecoder", [logits, d([6, 4, 0], "int32")], [(0, 1), (1, 0)], merge_repeated=merge, blank_index=blank, grad=False, tol=1e-13)
at, lab = ("data", np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]], "int64")), d([0, 1, 1, 2, 0, 1], "int32")
for collapse in [False, True]:
    for merge in [False, True]:
        case(f"ctc_loss_{collapse}_{merge}", "CTCLoss", [logits, at, lab, d([6, 4, 3], "int32")], [(0, 1), (3, 0)], preprocess_collapse_repeated=collapse, ctc_merge_repeated=merge,
             ignore_longer_outputs_than_inputs=False, grad=False, tol=1e-6)
case("ctc_loss_longer", "CTCLoss", [logits, at, lab, d([2, 4, 3], "int32")], preprocess_collapse_repeated=False, ctc_merge_repeated=True, ignore_longer_outputs_than_inputs=True, grad=False, tol=1e-6)
case("ctc_loss_too_long", "CTCLoss", [logits, at, lab, d([2, 4, 3], "int32")], preprocess_collapse_repeated=False, ctc_merge_repeated=True, ignore_longer_outputs_than_inputs=False, error=" ")
