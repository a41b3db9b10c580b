use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What the server counts. Labels come from the program, never from a request: there are few of
/// them, and none names a key.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Place, Histogram>,
    injected: Family<Fault, Counter>,
    pub(super) connections: Gauge,
    pub(super) refused_hosts: Counter,
    pub(super) events: Counter,
    pub(super) events_dropped: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    service: &'static str,
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    service: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fault {
    operation: &'static str,
    fault: &'static str,
}

/// From a cached read to the generation of an RSA-4096 key, in seconds.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("atrest");
        let requests = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        let connections = Gauge::default();
        let refused_hosts = Counter::default();
        registry.register("requests", "Requests answered", requests.clone());
        let help = "Time from a request's head to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        registry.register("connections", "Connections open now", connections.clone());
        let help = "Connections to other hosts that the proxy was asked for and refused";
        registry.register("refused_hosts", help, refused_hosts.clone());
        let (events, events_dropped) = (Counter::default(), Counter::default());
        registry.register("events", "Events told", events.clone());
        let help = "Events that nobody took";
        registry.register("events_dropped", help, events_dropped.clone());
        let injected = Family::default();
        let help = "Faults injected on purpose";
        registry.register("injected", help, injected.clone());
        Self {
            registry,
            requests,
            seconds,
            injected,
            connections,
            refused_hosts,
            events,
            events_dropped,
        }
    }

    pub(super) fn answered(
        &self,
        service: &'static str,
        operation: &'static str,
        status: u16,
        took: Duration,
    ) {
        let labels = Labels {
            service,
            operation,
            status,
        };
        self.requests.get_or_create(&labels).inc();
        let place = Place { service };
        self.seconds
            .get_or_create(&place)
            .observe(took.as_secs_f64());
    }

    pub(super) fn injected(&self, operation: &'static str, fault: &'static str) {
        self.injected
            .get_or_create(&Fault { operation, fault })
            .inc();
    }

    /// In the text format of OpenMetrics 1.0.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string succeeds");
        text
    }
}
