with

newest as (

    select * from {{ source('segments', 'segment_fits') }}
    qualify fit_date = max(fit_date) over ()

),

final as (

    select
        newest.segment_id,
        personas.persona,
        personas.traits,
        personas.grade,
        personas.treatment,
        newest.clients_count,
        newest.share_ratio,
        newest.stability,
        personas.lift,
        newest.fit_date
    from newest
    inner join {{ source('segments', 'segment_personas') }} as personas
        on newest.segment_id = personas.segment_id

)

select * from final
