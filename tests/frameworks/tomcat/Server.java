// A server of Tomcat, with the half second in which clients let go of their connections.
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.channels.NetworkChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.core.StandardContext;
import org.apache.catalina.startup.Tomcat;
import org.apache.coyote.http11.Http11NioProtocol;
import org.apache.tomcat.util.net.NioEndpoint;

public class Server {
    static volatile boolean draining = false;

    public static void main(String[] arguments) throws Exception {
        Endpoint endpoint = new Endpoint(Srvwrap.listeners().get(0));
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(".");
        Connector connector = new Connector(new Http11NioProtocol(endpoint));
        // It wants one, and binds none.
        connector.setPort(0);
        connector.setThrowOnFailure(true);
        tomcat.setConnector(connector);
        StandardContext context = (StandardContext) tomcat.addContext("", null);
        // For so long stop() waits for what is under way.
        context.setUnloadDelay(20_000);
        Tomcat.addServlet(context, "application", new Application()).addMapping("/");
        Thread waiting = new Thread(Srvwrap.onShutdown(() -> drain(tomcat, endpoint)));
        waiting.setDaemon(true);
        waiting.start();
        tomcat.start();
        Srvwrap.online();
        tomcat.getServer().await();
    }

    static void drain(Tomcat tomcat, Endpoint endpoint) {
        try {
            endpoint.stopAccepting();
            draining = true;
            Thread.sleep(500);
            tomcat.stop();
        } catch (Exception failure) {
            failure.printStackTrace();
        }
        System.exit(0);
    }

    /**
     * It accepts on the socket that it is given, until it is told not to. Tomcat's own, with useInheritedChannel, does
     * until stop(), which closes what was accepted last: 9 requests were lost in 5 deploys.
     */
    static class Endpoint extends NioEndpoint {
        final ServerSocketChannel listener;
        final Selector selector = Selector.open();
        final SelectionKey key;

        Endpoint(ServerSocketChannel listener) throws IOException {
            this.listener = listener;
            key = listener.register(selector, SelectionKey.OP_ACCEPT);
        }

        void stopAccepting() {
            key.cancel();
            selector.wakeup();
        }

        protected SocketChannel serverSocketAccept() throws IOException {
            while (!isPaused()) {
                selector.select(ready -> {});
                SocketChannel accepted = key.isValid() ? listener.accept() : null;
                if (accepted != null) {
                    return accepted;
                }
            }
            // Tomcat closes what it is given now.
            return SocketChannel.open();
        }

        protected void unlockAccept() {
            selector.wakeup();
        }

        protected void initServerSocket() {}

        protected NetworkChannel getServerSocket() {
            return listener;
        }
    }

    static class Application extends HttpServlet {
        final String body = ProcessHandle.current().pid() + " " + System.getenv("SRVWRAP_SLOT") + " "
            + System.getenv("SRVWRAP_GENERATION") + "\n";

        protected void doGet(HttpServletRequest request, HttpServletResponse answer) throws IOException {
            if (request.getRequestURI().equals("/slow")) {
                sleep(300);
            }
            if (draining) {
                answer.setHeader("Connection", "close");
            }
            answer.setContentLength(body.length());
            answer.getWriter().print(body);
        }

        void sleep(long milliseconds) {
            try {
                Thread.sleep(milliseconds);
            } catch (InterruptedException end) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
