"""
The Python agent with the options a test gives, as JSON in the first argument. `close <milliseconds>` on standard input
drains it. With `"stalling": true` it starts the process of a command and then never returns.
"""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "agent-python"))
import steelthread_agent as program  # noqa: E402


def stall(self, command_id, act, spools, on_output, on_end):
    environment = {"PATH": os.environ["PATH"], program.COMMAND_ID_VARIABLE: command_id}
    subprocess.Popen(
        ["bash", "-c", act["script"]],
        start_new_session=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    threading.Event().wait()


def read_orders(agent):
    for line in sys.stdin:
        agent.post(("close", float(line.split()[1])))
    # The test is gone; twice, so that running commands end at once.
    agent.post(("close", 0.0))
    agent.post(("close", 0.0))


def main():
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    is_stalling = given.pop("stalling", False)
    if is_stalling:
        program.Executor.start = stall
    required = {
        "url": os.environ["STEELTHREAD_URL"],
        "agent_id": "test-agent",
        "token": "test-token",
        "home": os.environ["STEELTHREAD_AGENT_HOME"],
    }
    agent = program.Agent(program.Options(**dict(required, **given)))
    program.listen_for_signals(agent)
    if not is_stalling:
        threading.Thread(target=read_orders, args=(agent,), daemon=True).start()
    try:
        agent.run()
    except program.StartError as error:
        sys.exit(str(error))


main()
