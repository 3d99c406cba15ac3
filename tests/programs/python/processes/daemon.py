"""Starts a program behind the words of argv[2:], at a terminal; it leaves a daemon and ends. Then sends argv[1] to what it sees."""
import os, pty, signal, sys, time

PROGRAM = '''
import os, time
away, its = os.pipe()
if os.fork() == 0:
    program = os.getppid()
    os.setsid()
    print('started', program, flush=True)
    os.close(its)
    time.sleep(60)
os.close(its)
os.read(away, 1)
os._exit(3)
'''

wrapper, terminal = pty.fork()
if wrapper == 0:
    # A shell in the background leaves it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:] + [sys.executable, '-c', PROGRAM])
said = b''
while b'\n' not in said:
    said += os.read(terminal, 100)
program = int(said.split()[1])
# Until it was waited for.
while os.path.exists(f'/proc/{program}'):
    time.sleep(0.01)

begun = time.monotonic()
if sys.argv[1] == 'terminal':
    os.write(terminal, b'\x03')
else:
    os.kill(wrapper, signal.Signals[sys.argv[1]])
_, status = os.waitpid(wrapper, 0)
assert time.monotonic() - begun < 30, 'the daemon ended by itself'
print('ended with', os.waitstatus_to_exitcode(status))
