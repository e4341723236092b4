// What programs commonly take from the standard library, used once.
//
// warm.sh compiles this into a shared library, the one home of these instantiations, and the forking compiler reads it
// behind <bits/stdc++.h>: what it has instantiated for these functions and the library exports, it does not instantiate
// again, or emit, per program (fork_server.cc). Nothing here is ever called.
//
// Only types of the language and the library itself: a program may still specialise templates for its own.

namespace codecard_exercise {

using std::string;
using std::vector;

template <class T>
void values(T a, T b) {
  using std::swap;
  swap(a, b);
  T c = std::max(a, b), d = std::min(a, b);
  c = std::max({a, b, c});
  d = std::min({a, b, d});
  T e = std::move(c);
  a = std::move(e);
  const T &f = std::forward<T &>(a);
  std::exchange(b, d);
  std::pair<T, T> g(f, d), h = std::make_pair(a, b), i{a, b};
  g = h;
  swap(g, h);
  h = std::move(i);
  if (g == h || g < h || g > h || g != h) g.first = h.second;
  std::tuple<T, T> j(f, d), k = std::make_tuple(a, b);
  std::get<0>(j) = std::get<1>(k);
  std::tie(a, b) = j;
  j = k;
  if (j == k || j < k || j != k) swap(j, k);
  std::optional<T> l, m = a, n(b), o = std::nullopt;
  l = m;
  l = b;
  m = std::nullopt;
  if (l == m || l == a || l != b || l == std::nullopt || l.has_value() || !l || m != n || b == *l) o = l.value();
  o = l.value_or(a);
  *l = *o;
  l.reset();
  std::make_optional(a);
  std::any p = a;
  if (p.type() == typeid(T)) a = std::any_cast<T>(p);
  p = b;
  std::any_cast<T>(&p);
  std::function<bool(const T &, const T &)> q = std::less<T>();
  q(a, b);
  std::unique_ptr<T> r = std::make_unique<T>(a);
  std::shared_ptr<T> s = std::make_shared<T>(a);
  *r = *s;
  std::initializer_list<T> t = {a, b};
  for (const T &u : t) a = u;
  std::abs(1);
}

template <class I>
void iterators(I a, I b) {
  I c = a++, d = b--;
  ++a, --b;
  a = c + 1, b = d - 1;
  a += 1, b -= 1;
  if (a == b || a != b || a < b || a > b || a <= b || a >= b) c = a;
  std::distance(a, b);
  std::advance(a, 1);
  std::next(a), std::next(a, 2), std::prev(b), std::prev(b, 2);
  auto e = b - a;
  auto f = *a;
  f = a[e];
  a.operator->();
}

template <class C>
void walks(C &a) {
  const C &b = a;
  for (auto &c : a) (void)c;
  for (const auto &c : b) (void)c;
  for (auto c : b) (void)c;
  for (auto c = a.begin(); c != a.end(); ++c) (void)*c;
  for (auto c = b.begin(); c != b.end(); c++) (void)*c;
  for (auto c = a.rbegin(); c != a.rend(); ++c) (void)*c;
  for (auto c = b.rbegin(); c != b.rend(); c++) (void)*c;
  std::begin(a), std::end(a), std::begin(b), std::end(b), std::rbegin(a), std::rend(a), std::size(a), std::empty(a);
  a.cbegin(), a.cend();
}

template <class C>
void searches(C &a) {
  using T = typename C::value_type;
  T b = *a.begin();
  const C &c = a;
  std::find(a.begin(), a.end(), b), std::find(c.begin(), c.end(), b);
  std::count(a.begin(), a.end(), b), std::count(c.begin(), c.end(), b);
  std::copy(a.begin(), a.end(), a.begin()), std::copy(c.begin(), c.end(), a.begin());
  std::reverse(a.begin(), a.end());
  std::rotate(a.begin(), a.begin(), a.end());
  std::fill(a.begin(), a.end(), b);
  std::equal(a.begin(), a.end(), a.begin()), std::equal(c.begin(), c.end(), c.begin());
  std::equal(a.begin(), a.end(), a.rbegin()), std::equal(c.begin(), c.end(), c.rbegin());
  std::replace(a.begin(), a.end(), b, b);
  std::swap(a[0], a[1]);
  std::unique(a.begin(), a.end()), std::remove(a.begin(), a.end(), b);
  std::search(a.begin(), a.end(), c.begin(), c.end());
  std::iter_swap(a.begin(), a.begin());
  std::adjacent_find(a.begin(), a.end());
}

template <class C>
void orders(C &a) {
  using T = typename C::value_type;
  T b = *a.begin();
  const C &c = a;
  std::sort(a.begin(), a.end());
  std::sort(a.rbegin(), a.rend());
  std::sort(a.begin(), a.end(), std::greater<T>());
  std::sort(a.begin(), a.end(), std::greater<>());
  std::stable_sort(a.begin(), a.end());
  std::partial_sort(a.begin(), a.end(), a.end());
  std::nth_element(a.begin(), a.begin(), a.end());
  std::is_sorted(a.begin(), a.end()), std::is_sorted(c.begin(), c.end());
  std::max_element(a.begin(), a.end()), std::max_element(c.begin(), c.end());
  std::min_element(a.begin(), a.end()), std::min_element(c.begin(), c.end());
  std::minmax_element(a.begin(), a.end());
  std::lower_bound(a.begin(), a.end(), b), std::upper_bound(a.begin(), a.end(), b);
  std::binary_search(a.begin(), a.end(), b);
  std::next_permutation(a.begin(), a.end());
  std::make_heap(a.begin(), a.end()), std::pop_heap(a.begin(), a.end()), std::push_heap(a.begin(), a.end());
  if (a < c || a > c || a <= c) b = *a.begin();
}

template <class T>
void vectors(T a) {
  vector<T> b, c(3), d(3, a), e{a, a}, f(e), g(std::move(f)), h(e.begin(), e.end()), i({a, a});
  const vector<T> &j = e;
  b = e, b = std::move(g), b = {a, a};
  b.push_back(a), b.push_back(T(a)), b.push_back(std::move(a));
  b.emplace_back(a), b.emplace_back(std::move(a)), b.emplace_back();
  b.insert(b.begin(), a), b.insert(b.end(), T(a)), b.insert(b.end(), e.begin(), e.end());
  b.insert(b.end(), j.begin(), j.end()), b.insert(b.begin(), 2, a), b.insert(b.end(), {a, a});
  b.erase(b.begin()), b.erase(b.begin(), b.end()), b.pop_back(), b.clear(), b.reserve(9), b.resize(3), b.resize(3, a);
  b.swap(c), std::swap(b, c), b.assign(2, a), b.assign(e.begin(), e.end()), b.shrink_to_fit();
  if (b == c || b != c || j == b || b.empty() || j.empty()) a = b[0];
  a = j[0], a = b.at(0), a = j.at(0), a = b.front(), a = j.front(), a = b.back(), a = j.back();
  b[0] = a, b.data(), j.data(), b.size(), j.size(), b.capacity();
  walks(b);
  iterators(b.begin(), b.end());
  iterators(j.begin(), j.end());
  if (b.begin() == b.cbegin() || b.cend() != b.end()) b.erase(b.cbegin());
  searches(b);
  std::copy(b.begin(), b.end(), std::back_inserter(c)), std::copy(j.begin(), j.end(), std::back_inserter(c));
  std::move(b.begin(), b.end(), std::back_inserter(c));
  vector<T> k(b.rbegin(), b.rend()), l(j.begin(), j.end()), m(j.rbegin(), j.rend()), n(b.begin() + 1, b.end());
  std::reverse_copy(j.begin(), j.end(), std::back_inserter(c));
  std::transform(b.begin(), b.end(), c.begin(), [](const T &o) { return o; });
  std::initializer_list<T> p{a, a};
  c = p;
}

template <class T>
void numbers(T a) {
  vectors(a);
  vector<T> b{a};
  const vector<T> &c = b;
  orders(b);
  std::accumulate(b.begin(), b.end(), 0), std::accumulate(b.begin(), b.end(), 0.0), std::accumulate(b.begin(), b.end(), a);
  std::accumulate(c.begin(), c.end(), 0), std::accumulate(c.begin(), c.end(), 0.0), std::accumulate(c.begin(), c.end(), a);
  std::accumulate(b.begin(), b.end(), a, std::multiplies<T>());
  std::accumulate(b.begin(), b.end(), 1, std::multiplies<int>());
  std::iota(b.begin(), b.end(), a);
  std::partial_sum(b.begin(), b.end(), b.begin());
  std::to_string(a);
  std::abs(a), std::pow(a, 2), std::pow(a, a), std::pow(2, a), std::pow(10, a), std::sqrt(a), std::floor(a), std::ceil(a);
  std::pow(a, 0.5), std::pow(a, 1.0 / 3), std::log(a), std::log2(a), std::log10(a), std::fabs(a), std::cbrt(a), std::round(a);
  std::fmod(a, 2), std::fmod(a, a), std::pow(a, 3.0), std::hypot(a, a), std::lround(a), std::isnan(double(a));
  std::numeric_limits<T>::max(), std::numeric_limits<T>::min(), std::numeric_limits<T>::lowest();
  values(a, a);
  std::array<T, 3> d{a, a, a};
  d[0] = a, d.size();
}

template <class M>
void maps(const M &a) {
  using K = typename M::key_type;
  using V = typename M::mapped_type;
  M b, c(a), d(std::move(c)), e{{K(), V()}, {K(), V()}};
  b = a, b = std::move(d);
  K k = a.begin()->first;
  V v = a.begin()->second;
  b[k] = v, b[K()] = std::move(v), v = b.at(k), v = a.at(k);
  b.find(k), a.find(k), b.count(k), a.count(k), b.size(), b.empty(), b.clear(), b.erase(k);
  b.insert({k, v}), b.insert(std::make_pair(k, v)), b.emplace(k, v), b.insert(std::pair<const K, V>(k, v));
  if (b.find(k) != b.end() || a.find(k) != a.end() || b.find(k) == b.end() || a.find(k) == a.end()) b.erase(b.begin());
  if (b == a || b != a) b.swap(e);
  for (auto &f : b) f.second = v;
  for (const auto &f : a) v = f.second;
  for (auto f : a) k = f.first;
  for (const auto &[f, g] : a) k = f, v = g;
  for (auto &[f, g] : b) k = f, v = g;
  for (auto [f, g] : b) k = f, v = g;
  for (auto f = b.begin(); f != b.end(); ++f) v = f->second;
  for (auto f = a.begin(); f != a.end(); f++) v = f->second, k = (*f).first;
  vector<std::pair<K, V>> h(a.begin(), a.end());
  std::next(b.begin());
}

template <class S>
void sets(const S &a) {
  using T = typename S::value_type;
  S b, c(a), d(std::move(c)), e{T(), T()};
  vector<T> f(a.begin(), a.end());
  S g(f.begin(), f.end()), h(f.cbegin(), f.cend());
  b = a, b = std::move(d);
  T t = *a.begin();
  b.insert(t), b.insert(T(t)), b.emplace(t), b.insert(f.begin(), f.end()), b.insert(a.begin(), a.end());
  b.find(t), a.find(t), b.count(t), a.count(t), b.size(), b.empty(), b.clear(), b.erase(t), a.size(), a.empty();
  if (b.find(t) != b.end() || a.find(t) != a.end() || b.find(t) == b.end() || a.find(t) == a.end()) b.erase(b.begin());
  if (b == a || b != a) b.swap(e);
  if (b.insert(t).second) f.assign(b.begin(), b.end());
  for (const auto &i : b) t = i;
  for (auto i : a) t = i;
  for (auto i = b.begin(); i != b.end(); ++i) t = *i;
  f.insert(f.end(), a.begin(), a.end());
  std::copy(a.begin(), a.end(), std::back_inserter(f));
}

template <class T>
void ordered(T a) {
  maps(std::map<T, int>{}), maps(std::map<T, T>{}), maps(std::unordered_map<T, int>{});
  sets(std::set<T>{}), sets(std::unordered_set<T>{});
  std::set<T> b{a};
  *b.rbegin(), b.lower_bound(a), b.upper_bound(a), *std::prev(b.end());
  std::map<T, int> c;
  c.rbegin()->second = 1, c.lower_bound(a), c.upper_bound(a);
  std::priority_queue<T> d;
  std::priority_queue<T, vector<T>, std::greater<T>> e;
  d.push(a), d.push(T(a)), d.top(), d.pop(), d.empty(), d.size();
  e.push(a), e.push(T(a)), e.top(), e.pop(), e.empty(), e.size();
}

template <class T>
void queues(T a) {
  std::stack<T> b;
  b.push(a), b.push(T(a)), b.emplace(a), b.pop(), a = b.top(), b.empty(), b.size();
  std::queue<T> c;
  c.push(a), c.push(T(a)), c.pop(), a = c.front(), a = c.back(), c.empty(), c.size();
  std::deque<T> d{a, a}, e(d);
  d.push_back(a), d.push_back(T(a)), d.push_front(a), d.push_front(T(a)), d.pop_back(), d.pop_front();
  a = d.front(), a = d.back(), a = d[0], d.empty(), d.size(), d.clear();
  d = e;
  walks(d);
  vector<T> f(d.begin(), d.end());
  std::list<T> g{a};
  g.push_back(a), g.push_front(a), g.pop_back(), g.pop_front(), g.front(), g.back(), g.size(), g.empty();
  for (auto &h : g) a = h;
}

inline void strings(string a, const string &b, char c, int n) {
  a = b, a = "a", a = c, a += b, a += "a", a += c, a = a + b, a = a + "a", a = "a" + a, a = a + c, a = c + a;
  a = a + b + "a" + c, a = string("a") + b, a = string(n, c) + b, a = b + b, a = b + "a", a = "a" + b, a = b + c, a = c + b;
  a = b + string("a"), a = string("a") + string("a"), a = std::to_string(n) + b, a = b + std::to_string(n);
  if (a == b || a != b || a == "a" || a != "a" || "a" == a || "a" != a || a < b || a > b || a <= b || a >= b || a < "a") a.clear();
  string d(b), e(std::move(d)), f("a"), g(n, c), h(b.begin(), b.end()), i(b.rbegin(), b.rend()), j(b, 1), k(b, 1, 2), l{c, c};
  string m(a.begin(), a.end()), o(a.rbegin(), a.rend()), p = {c, c}, q(b.begin() + 1, b.end() - 1), r("a", 1);
  a.push_back(c), a.pop_back(), a.insert(0, b), a.insert(0, "a"), a.insert(0, 1, c), a.insert(a.begin(), c), a.append(b);
  a.append(n, c), a.append("a"), a.append(b, 0, 1), a.append(b.begin(), b.end()), a.erase(0, 1), a.erase(a.begin());
  a.erase(a.begin(), a.end()), a.resize(n), a.resize(n, c), a.reserve(9), a.replace(0, 1, b), a.replace(0, 1, "a");
  a.substr(1), a.substr(0, 1), a.find(b), a.find(c), a.find("a"), a.find(b, 1), a.rfind(c), a.rfind(b), a.find_first_of(b);
  a.find_first_not_of(' '), a.find_last_not_of(' '), a.find_first_of("a"), a.compare(b), a.compare(0, 1, b), a.c_str(), a.data();
  a.find_first_not_of(" "), a.find_last_not_of(" "), a.find_last_of(b), a.find_last_of("a");
  a.front(), b.front(), a.back(), b.back(), a.at(0), b.at(0), a.size(), a.length(), a.empty(), a[0], b[0];
  a.swap(e), std::swap(a, e), a.assign(b), a.assign(n, c), a.assign("a");
  walks(a);
  iterators(a.begin(), a.end());
  iterators(b.begin(), b.end());
  searches(a);
  orders(a);
  std::transform(a.begin(), a.end(), a.begin(), ::tolower), std::transform(a.begin(), a.end(), a.begin(), ::toupper);
  std::transform(b.begin(), b.end(), a.begin(), ::tolower), std::transform(b.begin(), b.end(), a.begin(), ::toupper);
  std::remove_if(a.begin(), a.end(), ::isspace), std::all_of(a.begin(), a.end(), ::isdigit);
  std::all_of(b.begin(), b.end(), ::isdigit), std::count_if(b.begin(), b.end(), ::isupper);
  std::copy(b.begin(), b.end(), std::back_inserter(a)), std::reverse_copy(b.begin(), b.end(), a.begin());
  a.erase(std::remove(a.begin(), a.end(), c), a.end());
  a.erase(std::unique(a.begin(), a.end()), a.end());
  std::stoi(a), std::stol(a), std::stoll(a), std::stod(a), std::stof(a), std::stoul(a), std::stoi(a, nullptr, 2);
  std::accumulate(a.begin(), a.end(), 0), std::accumulate(b.begin(), b.end(), 0);
  string s = std::accumulate(&a, &a + 1, string());
  std::set<char> t(b.begin(), b.end()), u(a.begin(), a.end());
  std::unordered_set<char> v(b.begin(), b.end()), w(a.begin(), a.end());
  vector<char> x(b.begin(), b.end());
  string y(x.begin(), x.end()), z(t.begin(), t.end());
  std::hash<string>()(a);
  std::string_view aa = b, ab = "a";
  aa.substr(1), aa.size(), aa[0], aa == ab, string(aa);
  for (char ac : aa) c = ac;
  std::tolower(c), std::toupper(c), std::isalpha(c), std::isdigit(c);
}

inline void streams(const string &a, int b, long c, double d, char e, string f, float g, bool h, unsigned long i) {
  std::stringstream j(a), k;
  std::istringstream l(a), m{a};
  std::ostringstream n;
  j << a << b << c << d << e << "a" << g << h << i << std::endl;
  n << a << b << c << d << e << "a" << g << std::setw(b) << std::setfill('0') << std::fixed << std::setprecision(b) << std::hex;
  std::cout << a << b << c << d << e << "a" << g << h << i << std::endl << '\n' << std::boolalpha << std::flush;
  std::cout << std::setprecision(b) << std::fixed << a.size();
  std::cerr << a << b << c << d << e << "a" << std::endl;
  while (j >> f) j.str();
  while (std::getline(j, f, ',') || std::getline(l, f) || std::getline(l, f, ' ')) l >> f;
  while (l >> b >> c >> d >> e) k.str("");
  j >> b, j >> c, j >> d, j >> e, j >> g, j.clear(), j.str(a), n.str();
  vector<string> o((std::istream_iterator<string>(l)), std::istream_iterator<string>());
  vector<string> p{std::istream_iterator<string>{j}, std::istream_iterator<string>{}};
  std::copy(o.begin(), o.end(), std::ostream_iterator<string>(n, " "));
  std::copy(std::istream_iterator<string>(l), std::istream_iterator<string>(), std::back_inserter(o));
  std::bitset<32> q(b);
  q.to_string(), q.count();
  if (b) throw std::invalid_argument(a);
  if (c) throw std::invalid_argument("a");
  if (d) throw std::runtime_error("a");
  if (e) throw std::out_of_range("a");
}

template <class T>
void nested(T a) {
  vectors(vector<T>{a});
  vector<vector<T>> b(3, vector<T>(3)), c(3, vector<T>(3, a)), d{{a, a}, {a}};
  b[0][0] = a, b[0].push_back(a), b.push_back({a, a}), b.push_back(vector<T>()), b.emplace_back(vector<T>{a});
  for (const auto &e : b)
    for (const auto &f : e) a = f;
}

inline void all() {
  numbers(1), numbers(1L), numbers(1.0F), numbers(1.0);
  vectors(string()), vectors('a'), vectors(1ULL), vectors(1UL);
  vectors(std::pair<int, int>()), vectors(std::tuple<long, long>()), vectors(std::tuple<int, int>());
  vectors(std::pair<string, int>()), vectors(std::pair<long, long>());
  nested(1), nested(1L), nested(string()), nested('a');
  vector<string> a;
  orders(a);
  vector<char> b;
  orders(b);
  std::accumulate(a.begin(), a.end(), string());
  vector<bool> c(3), d(3, true);
  c[0] = true, c.size(), c[0] = c[1], c = d, c.push_back(true);
  for (bool e : c) d[0] = e;
  values(string(), string()), values('a', 'b');
  std::tuple<string, bool> f("a", true), g = std::make_tuple(string(), true), h{string(), false};
  if (f == g) f = h;
  std::tuple<std::optional<long>, std::optional<long>> i, j{1, std::nullopt}, k = std::make_tuple(std::optional<long>(1), std::nullopt);
  i = {std::nullopt, 1}, i = std::make_tuple(std::nullopt, std::nullopt), j = k;
  if (i == j) std::tuple<std::optional<long>, std::optional<long>>(std::optional<long>(1), std::optional<long>(std::nullopt));
  ordered(1), ordered(1L), ordered('a'), ordered(string());
  maps(std::map<string, vector<string>>{}), maps(std::map<int, vector<int>>{}), maps(std::map<string, long>{});
  maps(std::map<string, double>{}), maps(std::map<int, string>{});
  maps(std::unordered_map<string, string>{}), maps(std::unordered_map<char, char>{}), maps(std::unordered_map<string, long>{});
  maps(std::unordered_map<long, long>{});
  sets(std::set<float>{});
  queues(1), queues(1L), queues('a'), queues(string());
  strings("a", "b", 'c', 1);
  streams("a", 1, 1, 1, 'a', "a", 1, true, 1);
  std::mt19937 l{1};
  std::gcd(1, 2), std::gcd(1L, 2L), std::lcm(1, 2);
}

}  // namespace codecard_exercise
