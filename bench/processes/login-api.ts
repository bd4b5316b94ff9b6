/** One more API, behind one (imagined) trusted proxy, so that every login may come from an address of its own. */
import '../../api/main.ts';
