// The page of serve at /: a completion as it streams, each token with its probability; and what is near a
// text.
#pragma once

inline constexpr const char* kServePage = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,"><title>attend</title>
<style>:root{color-scheme:light dark;--fg:#1d2330;--faint:#5b6577;--bg:#fff;--soft:#f1f3f7;--line:#c3c9d5;--ink:29,78,160;--doubt:234,150,40}
@media(prefers-color-scheme:dark){:root{--fg:#e4e8f0;--faint:#9aa5b8;--bg:#14171d;--soft:#20252e;--line:#475063;--ink:120,170,255;--doubt:225,140,40}}
*{box-sizing:border-box}body{font:16px/1.6 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:1.5rem auto;max-width:820px;padding:0 1.2rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}p{margin:.5rem 0}.faint{color:var(--faint);font-size:14px}
textarea,input,button{font:inherit;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.3rem .6rem}textarea,#query{width:100%}input[type=number]{width:5.5em}
button{cursor:pointer}button:disabled{opacity:.5;cursor:default}button:hover:enabled{border-color:rgb(var(--ink))}:focus-visible{outline:3px solid rgba(var(--ink),.5);outline-offset:1px}
.bar{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}
#out{white-space:pre-wrap;overflow-wrap:anywhere;min-height:5em;border-left:3px solid var(--line);padding-left:.8rem;margin:.8rem 0}#out span{border-radius:3px}#out span:hover,#out .on{box-shadow:inset 0 -2px rgb(var(--ink))}#tip{min-height:3.2em}
#list{list-style:none;padding:0}#list li{display:grid;grid-template-columns:4em minmax(4rem,12rem) 1fr;gap:.8rem;align-items:center}#list i{height:.7rem;border-radius:3px;background:rgb(var(--ink))}table{border-collapse:collapse;font-size:14px;margin:.4rem 0}td,th{border:1px solid var(--line);padding:1px 8px;text-align:left;font-weight:400;white-space:pre-wrap}thead th{font-weight:600}</style></head><body>
<h1>attend</h1><p class="faint"><label>API key, where one is needed <input id="key" size="16"></label></p>
<h2>Continue a text</h2><label class="faint" for="prompt">Text</label><textarea id="prompt" rows="3">Once upon a time</textarea>
<p class="bar"><button id="go">Continue</button><button id="stop" disabled>Stop</button><label>tokens <input id="most" type="number" value="60" min="1"></label><label>temperature <input id="heat" type="number" value="0" min="0" step="0.1"></label></p>
<div id="out" role="log" tabindex="0" aria-label="Text, and the tokens that continue it"></div><p id="tip" class="faint" role="status">The less likely a token was, the stronger its colour. Point at one, or go by ← and → in the text, to see what else was likely.</p>
<details><summary>The tokens as a table</summary><table><thead><tr><th scope="col">token</th><th scope="col">probability</th><th scope="col">likeliest</th></tr></thead><tbody id="rows"></tbody></table></details>
<h2>What is near a text</h2><label class="faint" for="query">Text</label><input id="query" value="a cat sleeps"><label class="faint" for="lines">Lines to compare with it</label>
<textarea id="lines" rows="4">the kitten is napping
stock markets fell
a dog runs in the park</textarea><p><button id="near">Compare</button></p><p id="said" class="faint" role="status"></p><ol id="list"></ol>
<script>"use strict";
const $=id=>document.getElementById(id),post=(path,body,signal)=>fetch(path,{method:"POST",signal,headers:{"Content-Type":"application/json",...($("key").value?{Authorization:"Bearer "+$("key").value}:{})},body:JSON.stringify(body)});
const failed=async r=>{const t=await r.text();try{return JSON.parse(t).error.message}catch{return r.status+" "+r.statusText}};
let running=null;
const percent=logprob=>(100*Math.exp(logprob)).toFixed(1)+" %",chosen=()=>$("out").querySelector(".on");
function choose(s){if(chosen())chosen().className="";s.className="on";$("tip").textContent=s.dataset.said}
function token(t,logprob,top){const s=document.createElement("span"),likely=Object.entries(top||{}).sort((a,b)=>b[1]-a[1]).map(([k,v])=>JSON.stringify(k)+" "+percent(v)).join(", ");
 s.textContent=t;s.style.background="rgba(var(--doubt),"+(.75*(1-Math.exp(logprob))).toFixed(2)+")";s.title=percent(logprob);
 s.dataset.said=JSON.stringify(t)+" "+s.title+(likely&&": likeliest "+likely);s.onmouseenter=()=>choose(s);$("out").append(s);
 const row=$("rows").insertRow(),name=document.createElement("th");name.scope="row";name.textContent=JSON.stringify(t);row.append(name);for(const text of[s.title,likely])row.insertCell().textContent=text}
$("out").onkeydown=e=>{const d={ArrowRight:"next",ArrowLeft:"previous"}[e.key],s=d&&(chosen()?chosen()[d+"ElementSibling"]:$("out").firstElementChild);if(s){choose(s);s.scrollIntoView({block:"nearest"});e.preventDefault()}};
$("go").onclick=async()=>{running=new AbortController();$("go").disabled=true;$("stop").disabled=false;$("out").textContent=$("prompt").value;$("tip").textContent="";$("rows").replaceChildren();
 try{const r=await post("/v1/completions",{prompt:$("prompt").value,max_tokens:+$("most").value,temperature:+$("heat").value,stream:true,logprobs:3},running.signal);
  if(!r.ok)throw new Error(await failed(r));
  const reader=r.body.pipeThrough(new TextDecoderStream()).getReader();let held="";
  for(;;){const {value,done}=await reader.read();if(done)break;held+=value;const events=held.split("\n\n");held=events.pop();
   for(const e of events){if(!e.startsWith("data: ")||e==="data: [DONE]")continue;const d=JSON.parse(e.slice(6));if(d.error)throw new Error(d.error.message);
    const c=d.choices[0];if(c&&c.logprobs)c.logprobs.tokens.forEach((t,i)=>token(t,c.logprobs.token_logprobs[i],c.logprobs.top_logprobs[i]))}}
 }catch(e){if(e.name!=="AbortError")$("tip").textContent=e.message}finally{$("go").disabled=false;$("stop").disabled=true}};
$("stop").onclick=()=>running.abort();
$("near").onclick=async()=>{const lines=$("lines").value.split("\n").filter(x=>x.trim()),r=await post("/v1/embeddings",{input:[$("query").value,...lines]});
 $("list").replaceChildren();$("said").textContent=r.ok?"Cosine of their vectors":await failed(r);if(!r.ok)return;
 const v=(await r.json()).data.map(d=>d.embedding),dot=(a,b)=>a.reduce((s,x,i)=>s+x*b[i],0),alike=i=>dot(v[0],v[i])/Math.sqrt(dot(v[0],v[0])*dot(v[i],v[i]));
 lines.map((t,i)=>[alike(i+1),t]).sort((a,b)=>b[0]-a[0]).forEach(([s,t])=>{const li=document.createElement("li"),bar=document.createElement("i");bar.style.width=100*Math.max(0,s)+"%";li.append(s.toFixed(3),bar,t);$("list").append(li)})};
</script></body></html>
)html";
