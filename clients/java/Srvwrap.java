// SPDX-License-Identifier: 0BSD

import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.channels.Channel;
import java.nio.channels.ServerSocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.atomic.AtomicBoolean;
import sun.misc.Signal;

/**
 * The worker protocol of srvwrap, in one file to copy. Run the program by {@code srvwrap --protocol stdin java …}:
 * Java takes a listening socket from descriptor 0 alone. For the notice descriptor give java
 * {@code --add-opens java.base/java.io=ALL-UNNAMED}, or the manifest of the jar {@code Add-Opens: java.base/java.io}.
 *
 * <pre>{@code
 * List<ServerSocketChannel> sockets = Srvwrap.listeners(); // accept on these, with a Selector
 * Runnable waiting = Srvwrap.onShutdown(this::finish);     // finish() is called once, when this process is to end
 * Srvwrap.online();                                        // now srvwrap knows that it serves
 * }</pre>
 *
 * Not run by srvwrap, all four do nothing, and there are no listeners. There is no thread here but those of the caller
 * and those on which Java runs handlers of signals. Linux only.
 */
public final class Srvwrap {
    private static final FileDescriptor NOTICE = notice();

    private Srvwrap() {}

    /** Says that connections are accepted. */
    public static void online() {
        say("online");
    }

    /** Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask. */
    public static void offline(String why) {
        say(("offline " + why.replaceAll("\\s+", " ")).trim());
    }

    /**
     * Has {@code finish} called once, on SIGTERM, SIGINT or the line from srvwrap. The line is waited for by what is
     * returned: run it in a daemon thread. It is to lead to this: close the listeners, answer for half a second with
     * {@code Connection: close}, close what is idle, exit.
     */
    public static Runnable onShutdown(Runnable finish) {
        if (NOTICE == null) return () -> {};
        AtomicBoolean told = new AtomicBoolean();
        Runnable once = () -> {
            if (!told.getAndSet(true)) finish.run();
        };
        for (String name : List.of("TERM", "INT")) Signal.handle(new Signal(name), signal -> once.run());
        return () -> {
            waitForShutdown();
            once.run();
        };
    }

    /** The listening socket, non-blocking, since other workers accept on it too: one or none. Call this once. */
    public static List<ServerSocketChannel> listeners() throws IOException {
        String number = System.getenv("LISTEN_FD_0");
        if (NOTICE == null || number == null) return List.of();
        Channel inherited = number.equals("0") ? System.inheritedChannel() : null;
        if (inherited instanceof ServerSocketChannel listener) {
            listener.configureBlocking(false);
            return List.of(listener);
        }
        throw exit("LISTEN_FD_0=" + number + " is no listening socket on descriptor 0: srvwrap was not told --protocol "
                + "stdin, or what stands between it and this program has closed it");
    }

    private static void say(String line) {
        if (NOTICE == null) return;
        try {
            new FileOutputStream(NOTICE).write((line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException gone) {
            // It is srvwrap that is gone, and this process will be killed.
        }
    }

    /** The line, the end of all lines and an error all mean that it is time to go. */
    private static void waitForShutdown() {
        Scanner lines = new Scanner(new FileInputStream(NOTICE), StandardCharsets.UTF_8).useDelimiter("\r?\n");
        lines.tokens().anyMatch("\"shutdown\""::equals);
    }

    /** Java makes no descriptor of a number, and cannot open /dev/fd/3 where that is a socket: hence the back door. */
    private static FileDescriptor notice() {
        String number = System.getenv("NOTIFY_FD");
        if (number == null) return null;
        try {
            if (!Files.readSymbolicLink(Path.of("/proc/self/fd", number)).toString().startsWith("socket:"))
                throw new IOException("another kind of file");
            Field field = FileDescriptor.class.getDeclaredField("fd");
            field.setAccessible(true);
            FileDescriptor descriptor = new FileDescriptor();
            field.setInt(descriptor, Integer.parseInt(number));
            return descriptor;
        } catch (IOException why) {
            throw exit("NOTIFY_FD=" + number + " is no open socket: what stands between srvwrap and this program has "
                    + "closed it");
        } catch (ReflectiveOperationException | RuntimeException why) {
            throw exit("NOTIFY_FD=" + number + " is out of reach: java needs --add-opens java.base/java.io=ALL-UNNAMED,"
                    + " or the manifest Add-Opens: java.base/java.io");
        }
    }

    private static RuntimeException exit(String why) {
        System.err.println(why);
        System.exit(1);
        return new IllegalStateException(why);
    }
}
