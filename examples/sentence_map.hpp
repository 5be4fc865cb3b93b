// One self-contained HTML page with sentences as points: two principal components of their vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/tensor.hpp>

namespace sentence_map {

using attend::Index;

/// The directions of most variance of the rows, by power iteration, and each row's places along them.
/// vectors [N, E] -> [N, 2].
inline attend::Tensor<double, 2> principal_components(attend::TensorView<const float, 2> vectors) {
  const Index N = vectors.size(0), E = vectors.size(1);
  attend::Tensor<double, 2> rows({N, E}), places({N, 2});
  for (Index e = 0; e < E; ++e) {
    double mean = 0;
    for (Index i = 0; i < N; ++i) mean += static_cast<double>(vectors(i, e)) / static_cast<double>(N);
    for (Index i = 0; i < N; ++i) rows(i, e) = static_cast<double>(vectors(i, e)) - mean;
  }
  for (Index axis = 0; axis < 2; ++axis) {
    std::vector<double> direction(static_cast<std::size_t>(E)), next(direction.size());
    for (std::size_t e = 0; e < direction.size(); ++e) direction[e] = std::sin(static_cast<double>(e + 1));
    for (int step = 0; step < 100; ++step) {
      std::fill(next.begin(), next.end(), 0.0);
      for (Index i = 0; i < N; ++i) {
        double along = 0;
        for (Index e = 0; e < E; ++e) along += rows(i, e) * direction[static_cast<std::size_t>(e)];
        for (Index e = 0; e < E; ++e) next[static_cast<std::size_t>(e)] += along * rows(i, e);
        places(i, axis) = along;
      }
      double length = 0;
      for (double x : next) length += x * x;
      if (length == 0) break;
      for (std::size_t e = 0; e < next.size(); ++e) direction[e] = next[e] / std::sqrt(length);
    }
    for (Index i = 0; i < N; ++i) {  // what is left is across it
      double along = 0;
      for (Index e = 0; e < E; ++e) along += rows(i, e) * direction[static_cast<std::size_t>(e)];
      places(i, axis) = along;
      for (Index e = 0; e < E; ++e) rows(i, e) -= along * direction[static_cast<std::size_t>(e)];
    }
  }
  return places;
}

inline constexpr const char* kBegin = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Sentences as points</title>
<style>:root{color-scheme:light dark;--fg:#1d2330;--faint:#5b6577;--bg:#fff;--soft:#f1f3f7;--dot:#1d4ea0;--near:#c2410c;--line:#c3c9d5}
@media(prefers-color-scheme:dark){:root{--fg:#e4e8f0;--faint:#9aa5b8;--bg:#14171d;--soft:#20252e;--dot:#78aaff;--near:#ff9d5c;--line:#475063}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:1.2rem auto;max-width:1360px;padding:0 1.2rem}h1{font-size:1.3rem;margin:0}p{margin:.2rem 0 .8rem;color:var(--faint)}
main{display:grid;grid-template-columns:minmax(0,1fr) minmax(220px,26%);gap:1.4rem;align-items:start}@media(max-width:760px){main{grid-template-columns:1fr}}
svg{width:100%;background:var(--soft);border:1px solid var(--line);border-radius:8px}svg text{font:14px system-ui,sans-serif;fill:var(--faint);pointer-events:none}
circle{fill:var(--dot);fill-opacity:.75;cursor:pointer}circle.near{fill:var(--near);fill-opacity:1}circle.here{fill-opacity:1}circle.here,circle:focus{stroke:var(--fg);stroke-width:2.5;outline:none}
line{stroke:var(--near);stroke-width:1.5}#tip ol{padding:0;list-style:none}#tip li{margin:.5rem 0}#tip i{display:block;height:5px;border-radius:3px;background:var(--near)}
table{border-collapse:collapse;font-size:13px;margin-top:.5rem}td,th{border:1px solid var(--line);padding:1px 7px;text-align:left}details{margin:.8rem 0}
@media print{circle,line{print-color-adjust:exact}main{display:block}}</style></head><body>
<h1>Sentences as points</h1><p>Two principal components of their vectors. Point at one, or walk with the tabulator: its nearest neighbours by cosine are marked. A click holds it.</p>
<main><svg id="map" viewBox="0 0 1000 680" role="group" aria-label="sentences; the table below has them as text"></svg><div id="tip" role="status" aria-live="polite"></div></main>
<details><summary>As a table</summary><table id="table"><thead><tr><th scope="col">sentence<th scope="col">nearest</thead><tbody></tbody></table></details>
<script>"use strict";const data=)html";

inline constexpr const char* kEnd = R"html(;
const map=document.getElementById("map"),tip=document.getElementById("tip"),spread=i=>{const v=data.map(d=>d.at[i]),a=v.reduce((x,y)=>Math.min(x,y)),b=v.reduce((x,y)=>Math.max(x,y));return x=>b>a?(x-a)/(b-a):.5};
const make=(n,a,t)=>{const e=document.createElementNS("http://www.w3.org/2000/svg",n);for(const k in a)e.setAttribute(k,a[k]);if(t!==undefined)e.textContent=t;return e},cut=t=>t.length>34?t.slice(0,33)+"…":t;
const fx=spread(0),fy=spread(1),lines=make("g",{}),few=data.length<=40;let held=-1;map.append(lines);
const dots=data.map((d,i)=>{d.x=40+920*fx(d.at[0]);d.y=640-600*fy(d.at[1]);
 const c=make("circle",{cx:d.x,cy:d.y,r:data.length>500?4:7,tabindex:0,role:"button","aria-label":d.text});c.onmouseenter=()=>{if(held<0)show(i)};c.onfocus=()=>show(i);c.onclick=()=>{held=held===i?-1:i;show(i)};map.append(c);
 if(few)map.append(make("text",{x:d.x+(d.x>500?-12:12),y:d.y+5,"text-anchor":d.x>500?"end":"start"},cut(d.text)));return c});
function show(i){const near=new Set(data[i].near.map(n=>n[0]));dots.forEach((c,j)=>{c.classList.toggle("near",near.has(j));c.classList.toggle("here",j===i)});
 lines.replaceChildren(...data[i].near.map(([j])=>make("line",{x1:data[i].x,y1:data[i].y,x2:data[j].x,y2:data[j].y})));
 const list=document.createElement("ol");for(const [j,s] of data[i].near){const li=document.createElement("li"),bar=document.createElement("i");li.textContent=data[j].text+" "+s.toFixed(3);bar.style.width=100*Math.max(0,s)+"%";li.append(bar);list.append(li)}
 const b=document.createElement("b");b.textContent=data[i].text;tip.replaceChildren(b,list)}
for(const d of data){const r=document.querySelector("tbody").insertRow();r.insertCell().textContent=d.text;r.insertCell().textContent=d.near.map(([j,s])=>data[j].text+" ("+s.toFixed(2)+")").join("; ")}
</script></body></html>
)html";

/// texts [N], vectors [N, E].
inline void write(std::ostream& out, const std::vector<std::string>& texts,
                  attend::TensorView<const float, 2> vectors) {
  const Index N = vectors.size(0), E = vectors.size(1);
  const attend::Tensor<double, 2> places = principal_components(vectors);
  std::vector<double> lengths(static_cast<std::size_t>(N));
  const auto dot = [&](Index a, Index b) {
    double sum = 0;
    for (Index e = 0; e < E; ++e)
      sum += static_cast<double>(vectors(a, e)) * static_cast<double>(vectors(b, e));
    return sum;
  };
  for (Index i = 0; i < N; ++i) lengths[static_cast<std::size_t>(i)] = std::sqrt(dot(i, i));
  attend::Json data = attend::Json::array();
  for (Index i = 0; i < N; ++i) {
    std::vector<std::pair<double, Index>> near;
    for (Index j = 0; j < N; ++j) {
      const double both = lengths[static_cast<std::size_t>(i)] * lengths[static_cast<std::size_t>(j)];
      if (j != i) near.emplace_back(both > 0 ? -dot(i, j) / both : 0, j);
    }
    const std::size_t n = std::min<std::size_t>(3, near.size());
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(n), near.end());
    attend::Json nearest = attend::Json::array();
    for (std::size_t k = 0; k < n; ++k)
      nearest.push_back({near[k].second, std::round(-near[k].first * 1e4) / 1e4});
    data.push_back({{"text", texts[static_cast<std::size_t>(i)]},
                    {"at", {std::round(places(i, 0) * 1e5) / 1e5, std::round(places(i, 1) * 1e5) / 1e5}},
                    {"near", std::move(nearest)}});
  }
  out << kBegin;
  for (char c :
       data.dump(-1, ' ', true, attend::Json::error_handler_t::replace))  // nothing in it ends the script
    c == '<' ? out << "\\u003c" : out << c;
  out << kEnd;
}

}  // namespace sentence_map
