// Names of Python's own modules, and those that refuse a file. The attack list is not what keeps a reader safe: nothing
// is ever called. It tells the user that a file is hostile, instead of importing its weights as if nothing were wrong.
#include "checkpoint/pickle_globals.h"

#include <array>
#include <unordered_set>

#include "checkpoint/pickle_text.h"

namespace styleclip::checkpoint {
namespace {

// Modules that run programs, load code, open connections or delete files; no checkpoint has business with them.
const std::unordered_set<std::string_view> kAttackModules = {"os",
                                                             "posix",
                                                             "nt",
                                                             "subprocess",
                                                             "_posixsubprocess",
                                                             "commands",
                                                             "popen2",
                                                             "pty",
                                                             "runpy",
                                                             "socket",
                                                             "_socket",
                                                             "shutil",
                                                             "sys",
                                                             "ctypes",
                                                             "_ctypes",
                                                             "importlib",
                                                             "imp",
                                                             "_imp",
                                                             "code",
                                                             "codeop",
                                                             "pdb",
                                                             "bdb",
                                                             "pip",
                                                             "timeit",
                                                             "cProfile",
                                                             "profile",
                                                             "webbrowser",
                                                             "platform",
                                                             "ftplib",
                                                             "telnetlib",
                                                             "smtplib",
                                                             "urllib",
                                                             "urllib2",
                                                             "http",
                                                             "httplib",
                                                             "requests",
                                                             "asyncio",
                                                             "pydoc",
                                                             "pickle",
                                                             "_pickle",
                                                             "cPickle",
                                                             "marshal",
                                                             "shelve",
                                                             "dill",
                                                             "cloudpickle",
                                                             "multiprocessing",
                                                             "ensurepip",
                                                             "venv",
                                                             "zipimport",
                                                             "linecache"};

// Of `builtins`.
const std::unordered_set<std::string_view> kAttackBuiltins = {
    "eval",    "exec",   "execfile", "compile", "__import__", "getattr", "setattr", "delattr", "open", "file",
    "globals", "locals", "vars",     "input",   "breakpoint", "apply",   "help",    "exit",    "quit"};

// Parts of a dotted name that climb out of its module.
const std::unordered_set<std::string_view> kAttackParts = {"os",
                                                           "posix",
                                                           "subprocess",
                                                           "sys",
                                                           "builtins",
                                                           "__builtins__",
                                                           "__globals__",
                                                           "__import__",
                                                           "__loader__",
                                                           "__subclasses__",
                                                           "__getattribute__",
                                                           "__code__",
                                                           "importlib",
                                                           "runpy",
                                                           "socket"};

// Full names within modules that checkpoints do use.
const std::unordered_set<std::string_view> kAttackNames = {"torch.load",
                                                           "torch.hub.load",
                                                           "torch.jit.load",
                                                           "torch.serialization.load",
                                                           "numpy.load",
                                                           "numpy.f2py.compile",
                                                           "torch.utils.cpp_extension.load",
                                                           "torch.utils.cpp_extension.load_inline",
                                                           "torch.storage._load_from_file",
                                                           "numpy.testing._private.utils.runstring",
                                                           "torch.ops.load_library",
                                                           "torch.classes.load_library",
                                                           "codecs.open",
                                                           "io.open",
                                                           "_io.open",
                                                           "io.FileIO",
                                                           "_io.FileIO",
                                                           "types.FunctionType",
                                                           "types.CodeType",
                                                           "operator.methodcaller",
                                                           "_operator.methodcaller",
                                                           "functools.reduce",
                                                           "_functools.reduce"};

Value copy_items(Reading& reading, Value::Kind kind, const Items& arguments) {
  if (arguments.empty()) return reading.items(kind);
  const Items* from = held<Items>(arguments[0]);
  if (from == nullptr) damaged(std::string("it makes a sequence of ") + kind_name(arguments[0].kind()));
  reading.count_values(from->size());
  return reading.items(kind, *from);
}

/// A dict of nothing, of another dict, or of pairs.
Value copy_entries(Reading& reading, const Value* from) {
  if (from == nullptr || from->is(Value::Kind::None)) return reading.dict();
  if (const Entries* entries = held<Entries>(*from)) {
    reading.count_values(entries->size());
    return reading.dict(*entries);
  }
  const Items* pairs = held<Items>(*from);
  if (pairs == nullptr) damaged(std::string("it makes a dict of ") + kind_name(from->kind()));
  reading.count_values(pairs->size());
  Entries entries;
  for (const Value& pair : *pairs) {
    const Items* two = held<Items>(pair);
    if (two == nullptr || two->size() != 2) damaged("it makes a dict of something that is no pair");
    entries.emplace_back((*two)[0], (*two)[1]);
  }
  return reading.dict(std::move(entries));
}

bool is_latin1(const Items& arguments) {
  if (arguments.size() < 2 || !arguments[1].is(Value::Kind::String)) return false;
  const std::string_view name = bytes_of(arguments[1]).text();
  return name == "latin1" || name == "latin-1" || name == "iso-8859-1";
}

/// Protocols 0 to 2 write bytes as text of the same code points.
Value encode(Reading& reading, const Value& text) {
  Value& known = reading.encoded[text.node().get()];
  if (known.is(Value::Kind::None)) {
    known = reading.text(Value::Kind::Bytes, own(encode_latin1(bytes_of(text).text())));
  }
  return known;
}

/// Python 2's way to make an object: (class, base, what the base is filled with).
Value reconstruct(Reading& reading, const Items& arguments) {
  if (arguments.size() != 3 || held<Global>(arguments[0]) == nullptr) damaged("copyreg._reconstructor's arguments");
  Value made = reading.object(arguments[0], reading.items(Value::Kind::Tuple));
  ObjectParts& object = *object_of(made);
  if (const Entries* entries = held<Entries>(arguments[2])) {
    reading.count_values(entries->size());
    object.entries = *entries;
  } else if (const Items* items = held<Items>(arguments[2])) {
    reading.count_values(items->size());
    object.items = *items;
  }
  return made;
}

std::optional<Value> call_python(Reading& reading, const std::string& name, const Items& arguments) {
  const Value* first = arguments.empty() ? nullptr : &arguments[0];
  if (name == "collections.OrderedDict" || name == "builtins.dict" || name == "collections.Counter") {
    return copy_entries(reading, first);
  }
  if (name == "collections.defaultdict") return copy_entries(reading, arguments.size() > 1 ? &arguments[1] : nullptr);
  if (name == "builtins.set" || name == "builtins.frozenset") return copy_items(reading, Value::Kind::Set, arguments);
  if (name == "builtins.list") return copy_items(reading, Value::Kind::List, arguments);
  if (name == "builtins.tuple") return copy_items(reading, Value::Kind::Tuple, arguments);
  if (name == "copyreg._reconstructor") return reconstruct(reading, arguments);
  const bool bytes = name == "builtins.bytearray" || name == "builtins.bytes";
  if (bytes && first == nullptr) return reading.owned_text(Value::Kind::Bytes, "");
  if (bytes && arguments.size() == 1 && first->is(Value::Kind::Bytes)) return *first;
  if ((bytes || name == "_codecs.encode") && first != nullptr && first->is(Value::Kind::String) &&
      is_latin1(arguments)) {
    return encode(reading, *first);
  }
  return std::nullopt;
}

}  // namespace

bool is_attack(std::string_view name) {
  const std::size_t dot = name.find('.');
  const std::string_view module = name.substr(0, dot);
  if (kAttackModules.contains(module) || kAttackNames.contains(name)) return true;
  if (module == "builtins" && kAttackBuiltins.contains(name.substr(std::min(name.size(), dot + 1)))) return true;
  for (std::size_t at = dot; at != std::string_view::npos;) {
    const std::size_t end = name.find('.', at + 1);
    if (kAttackParts.contains(name.substr(at + 1, end == std::string_view::npos ? end : end - at - 1))) return true;
    at = end;
  }
  return false;
}

std::optional<Value> call_global(const CallSite& site, const Value& global, const Value& arguments) {
  const std::string& name = global.class_name();
  const Items& items = arguments.items();
  if (name.starts_with("torch.")) return call_torch(site, name, items);
  if (name.starts_with("numpy.")) return call_numpy(site, name, items);
  if (name == "copyreg.__newobj__" && !items.empty() && held<Global>(items[0]) != nullptr) {
    // One level only: the class named first is looked up as itself, whatever it is.
    site.reading.count_values(items.size());
    const Value rest = site.reading.items(Value::Kind::Tuple, Items(items.begin() + 1, items.end()));
    const std::string& made = items[0].class_name();
    if (made != name) {
      if (const auto value = call_global(site, items[0], rest)) return value;
    }
    return site.reading.object(items[0], rest);
  }
  return call_python(site.reading, name, items);
}

std::vector<std::int64_t> integers_of(const Value& value) {
  const Items* items = held<Items>(value);
  if (items == nullptr || items->size() > 64) damaged("a tensor's sizes or strides are no short tuple of integers");
  std::vector<std::int64_t> numbers;
  for (const Value& one : *items) {
    if (!one.is(Value::Kind::Int)) damaged("a tensor's sizes or strides are no integers");
    numbers.push_back(one.integer());
  }
  return numbers;
}

}  // namespace styleclip::checkpoint
