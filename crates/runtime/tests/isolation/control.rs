//! The probe is no formality: in an instance that is used twice it finds what it left.

use wasmtime::{
    Config, Engine, Store, Trap,
    component::{Component, Linker, Resource, ResourceType},
};

use super::probe::{End, Probe};

struct Request;
struct Out;

/// Calls one instance twice. The second call's error, if it had one.
fn twice(probe: Probe) -> Option<wasmtime::Error> {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::new(&engine, wat::parse_str(probe.text()).unwrap()).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    let mut types = linker.instance("wasi:http/types@0.2.0").unwrap();
    types.resource("incoming-request", ResourceType::host::<Request>(), |_, _| Ok(())).unwrap();
    types.resource("response-outparam", ResourceType::host::<Out>(), |_, _| Ok(())).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let handler = instance.get_export_index(&mut store, None, "wasi:http/incoming-handler@0.2.0").unwrap();
    let handle = instance.get_export_index(&mut store, Some(&handler), "handle").unwrap();
    let handle = instance.get_typed_func::<(Resource<Request>, Resource<Out>), ()>(&mut store, handle).unwrap();
    handle.call(&mut store, (Resource::new_own(0), Resource::new_own(1))).unwrap();
    handle.call(&mut store, (Resource::new_own(2), Resource::new_own(3))).err()
}

#[test]
fn a_probe_finds_what_its_own_instance_has_left() {
    for sparse in [true, false] {
        let probe = Probe { mark: 1, pages: 2, growth: 3, sparse, end: End::Return };
        let error = twice(probe).expect("the second call finds the first one's traces");
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::IntegerDivisionByZero), "{error:?}");
    }
}
