/** One more API, whose model is the synthetic provider. */
import '../../api/main.ts';
