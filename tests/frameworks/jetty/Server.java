// A server of Jetty, with the half second in which clients let go of their connections.
import java.io.IOException;
import java.nio.channels.ServerSocketChannel;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.server.handler.StatisticsHandler;

public class Server {
    static volatile boolean draining = false;

    public static void main(String[] arguments) throws Exception {
        org.eclipse.jetty.server.Server server = new org.eclipse.jetty.server.Server();
        // No acceptor of its own: a thread that waits in accept() takes one connection more when it is told not to.
        ServerConnector connector = new ServerConnector(server, 0, -1);
        for (ServerSocketChannel listener : Srvwrap.listeners()) {
            connector.open(listener);
        }
        server.addConnector(connector);
        StatisticsHandler whatIsUnderWay = new StatisticsHandler();
        whatIsUnderWay.setHandler(new Application());
        server.setHandler(whatIsUnderWay);
        server.setStopTimeout(20_000);
        Thread waiting = new Thread(Srvwrap.onShutdown(() -> drain(server, connector)));
        waiting.setDaemon(true);
        waiting.start();
        server.start();
        Srvwrap.online();
    }

    static void drain(org.eclipse.jetty.server.Server server, ServerConnector connector) {
        try {
            connector.setAccepting(false);
            draining = true;
            Thread.sleep(500);
            server.stop();
        } catch (Exception failure) {
            failure.printStackTrace();
        }
    }

    static class Application extends AbstractHandler {
        final String body = ProcessHandle.current().pid() + " " + System.getenv("SRVWRAP_SLOT") + " "
            + System.getenv("SRVWRAP_GENERATION") + "\n";

        public void handle(String path, Request request, HttpServletRequest asked, HttpServletResponse answer)
                throws IOException {
            if (path.equals("/slow")) {
                sleep(300);
            }
            if (draining) {
                answer.setHeader("Connection", "close");
            }
            answer.setContentLength(body.length());
            answer.getWriter().print(body);
            request.setHandled(true);
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
